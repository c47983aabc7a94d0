#!/bin/sh
# Brings a stack back to a copy that docker/backup.sh has made. It replaces the databases and the project, and adds the objects.
# Run it on a new stack whose docker/secrets are those of the copy, or on the old one.
set -eu
folder=${1:?usage: docker/restore.sh FOLDER}
compose() { docker compose --file "$(dirname "$0")/compose.yaml" "$@"; }

(cd "$folder" && sha256sum --check --quiet SHA256SUMS)
compose --profile serve stop serve worker prefect mlflow
compose up --detach --wait postgres store
for database in mlflow mlflow_accounts prefect; do
    # A new database, because a newer version may have made tables that the copy does not know.
    compose exec -T postgres psql --username=postgres --quiet --set=ON_ERROR_STOP=1 --command="DROP DATABASE $database WITH (FORCE)" \
        --command="CREATE DATABASE $database OWNER ${database%_accounts}" --command="REVOKE CONNECT ON DATABASE $database FROM PUBLIC"
    compose exec -T postgres pg_restore --username=postgres --exit-on-error --single-transaction --dbname="$database" \
        < "$folder/$database.dump"
done
compose up --detach --wait mlflow
compose run --rm -T setup python /opt/servers/buckets.py load < "$folder/objects.tar"
# Files that are newer than the copy go, but for those of folders on which others are mounted.
compose run --rm -T --no-deps worker find /headway -xdev -path /headway/data/input -prune -o -path /headway/data/corrections -prune \
    -o -path /headway/data/vectors -prune -o -path /headway/data/encoders -prune -o ! -type d -exec rm -f {} +
compose run --rm -T --no-deps worker tar -C /headway --no-same-owner -xf - < "$folder/project.tar"
compose up --detach --wait
