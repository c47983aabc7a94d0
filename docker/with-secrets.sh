#!/bin/sh
# For each variable NAME__FILE sets NAME to the content of that file, for programs that read variables only; then runs a command.
set -eu
for pair in $(env | grep '^[A-Z_]*__FILE='); do
    name=${pair%%__FILE=*}
    value=$(cat "${pair#*=}")
    export "$name=$value"
    unset "${name}__FILE"
done
exec "$@"
