#!/bin/sh
# Brings the project on the volume /headway up to date with the image's copy, and runs a command in it. Files that git tracks
# are replaced, or removed if the image has them no longer. Data, models, reports and DVC's cache stay, and so do folders on which
# others are mounted.
set -eu
project=/headway source=/opt/headway
cd "$project"
mounted=
for folder in data/input data/corrections data/vectors data/encoders; do
    if mountpoint -q "$folder"; then mounted="$mounted $folder"; fi
done
if [ -d .git ]; then
    git ls-files -z -- . ${mounted:+$(printf ':!%s ' $mounted)} | xargs -0 rm -f --
fi
tar -C "$source" ${mounted:+$(printf -- '--exclude=./%s ' $mounted)} -cf - . | tar -xf - --no-same-owner
git rev-parse --git-dir > /dev/null 2>&1 || dvc config --local core.no_scm true  # an image that was built without .git
exec "$@"
