#!/bin/sh
# Makes every secret of compose.yaml, each a file in docker/secrets, which git ignores. A file that exists stays as it is.
# Only you can enter the folder; its files can be read by all, because the users inside the containers have other numbers.
set -eu
cd "$(dirname "$0")"
mkdir -p -m 700 secrets

random() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

# keep NAME LINE…: write the lines to a new file
keep() {
    [ -e "secrets/$1" ] && return
    file="secrets/$1"; shift
    printf '%s\n' "$@" > "$file.new"
    chmod 444 "$file.new"
    mv "$file.new" "$file"
}

# key NAME USER SECRET: an S3 key, as AWS's libraries read it
key() { keep "$1" '[default]' "aws_access_key_id = $2" "aws_secret_access_key = $3"; }

for name in postgres mlflow_database prefect_database mlflow_admin mlflow_worker mlflow_serve mlflow_sessions grafana; do
    keep $name "$(random)"
done
keep prefect_login "headway:$(random)"
keep metrics_token "$(random)"
keep serve_tokens "$(random)" "$(cat secrets/metrics_token)"

if [ ! -e secrets/store ]; then
    owner=$(random) mlflow=$(random) log=$(random)
    rm -f secrets/store_owner secrets/mlflow_key secrets/log_key
    key store_owner owner "$owner"
    key mlflow_key mlflow "$mlflow"
    key log_key log "$log"
    # sed's program comes by a pipe: arguments can be seen by every user of the machine.
    keep store "$(printf 's/@owner@/%s/\ns/@mlflow@/%s/\ns/@log@/%s/\n' "$owner" "$mlflow" "$log" | sed -f /dev/stdin store/keys.json)"
fi
