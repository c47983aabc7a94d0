#!/bin/sh
# Copies what cannot be made again into a new folder: the databases (runs, registry, history, accounts, schedules), the objects
# (models, prediction log), and the worker's project (DVC's cache, labels, monitor). Everything keeps running. The databases come
# first: what they name is in the store already and is never deleted there, so the copies fit together.
set -eu
folder=${1:?usage: docker/backup.sh FOLDER}
compose() { docker compose --file "$(dirname "$0")/compose.yaml" "$@"; }

umask 077
[ ! -e "$folder" ] || { echo "$folder: exists; name a new folder" >&2; exit 2; }
whole=$folder folder=$folder.partial  # it gets its name when it is complete
rm -rf "$folder"
mkdir -p "$folder"
for database in mlflow mlflow_accounts prefect; do
    compose exec -T postgres pg_dump --username=postgres --format=custom "$database" > "$folder/$database.dump"
done
compose run --rm -T setup python /opt/servers/buckets.py save > "$folder/objects.tar"
compose exec -T worker tar -C /headway --exclude=./data/input --exclude=./data/corrections --exclude=./data/vectors \
    --exclude=./data/encoders -cf - . > "$folder/project.tar" || [ $? = 1 ]  # 1: a file changed meanwhile
cp -p -R "$(dirname "$0")/secrets" "$folder/secrets"
(cd "$folder" && sha256sum *.dump *.tar > SHA256SUMS)
mv "$folder" "$whole"
echo "$whole: $(du -sh "$whole" | cut -f1)"
