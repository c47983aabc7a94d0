"""Makes the buckets and MLflow's accounts, and checks that no key of a service can delete or reach another bucket.

It runs at every start, before the services that depend on it, and changes nothing that is there already. Passwords and keys are
the files in the folder that the variable SECRETS names.
"""

from __future__ import annotations

import configparser
import os
import sys
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.exceptions import ClientError

#: The file with the key of a service, by the bucket that it may write to.
BUCKETS = {"mlflow": "mlflow_key", "predictions": "log_key"}
PROBE = ".rights"
#: The file with the password of an account in MLflow, by its name.
ACCOUNTS = {"worker": "mlflow_worker", "serve": "mlflow_serve"}
SECONDS = 30


def main() -> None:
    """Set everything up; ends with status 1 and a line on standard error if a key has other rights than it should."""
    secrets = Path(os.environ["SECRETS"])
    owner = boto3.client("s3")
    for bucket in BUCKETS:
        make_bucket(owner, bucket)
    for bucket, file in BUCKETS.items():
        check_key(secrets / file, bucket, others=BUCKETS.keys() - {bucket})
        owner.delete_object(Bucket=bucket, Key=PROBE)
    for name, file in ACCOUNTS.items():
        make_account(name, (secrets / file).read_text().strip())
    print(f"buckets: {', '.join(BUCKETS)}; accounts: {', '.join(ACCOUNTS)}")


def make_bucket(owner: Any, bucket: str) -> None:
    """Make a bucket if it is missing."""
    if bucket not in {one["Name"] for one in owner.list_buckets()["Buckets"]}:
        owner.create_bucket(Bucket=bucket)


def check_key(file: Path, bucket: str, others: set[str]) -> None:
    """Check that a key can write, read and list in its bucket, and can neither delete there nor do anything in the others."""
    found = configparser.ConfigParser()
    found.read(file)
    key = found["default"]
    client = boto3.client(
        "s3", aws_access_key_id=key["aws_access_key_id"], aws_secret_access_key=key["aws_secret_access_key"]
    )
    client.put_object(Bucket=bucket, Key=PROBE, Body=b"")
    client.get_object(Bucket=bucket, Key=PROBE)
    client.list_objects_v2(Bucket=bucket, MaxKeys=1)
    refused = {f"delete in {bucket}": lambda: client.delete_object(Bucket=bucket, Key=PROBE)}
    for other in others:
        refused[f"write to {other}"] = lambda other=other: client.put_object(Bucket=other, Key=PROBE, Body=b"")
        refused[f"list {other}"] = lambda other=other: client.list_objects_v2(Bucket=other, MaxKeys=1)
    for what, attempt in refused.items():
        try:
            attempt()
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDenied":
                raise
        else:
            sys.exit(f"{file.name}: this key can {what}, but should not; see docker/store/keys.json")


def make_account(name: str, password: str) -> None:
    """Make an account in MLflow, or give it this password."""
    users = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/users"
    admin = os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]
    account = {"username": name, "password": password}
    answer = requests.post(f"{users}/create", json=account, auth=admin, timeout=SECONDS)
    if answer.status_code == requests.codes.bad_request and "already exists" in answer.text:
        answer = requests.patch(f"{users}/update-password", json=account, auth=admin, timeout=SECONDS)
    if not answer.ok:
        sys.exit(f"MLflow account {name}: status {answer.status_code}: {answer.text[:300]}")


if __name__ == "__main__":
    main()
