"""Copies all objects of the store to a tar archive on standard output (``save``), or from one on standard input (``load``).

The archive's names are BUCKET/KEY. ``load`` makes missing buckets and replaces objects of the same name; others stay.
"""

from __future__ import annotations

import sys
import tarfile
from types import SimpleNamespace
from typing import BinaryIO

import boto3

USAGE = "usage: python buckets.py save > ARCHIVE, or python buckets.py load < ARCHIVE"


def save(archive: BinaryIO) -> int:
    """Write all objects to an archive; returns their number."""
    store = boto3.client("s3")
    count = 0
    with tarfile.open(fileobj=archive, mode="w|") as tar:
        for bucket in (one["Name"] for one in store.list_buckets()["Buckets"]):
            for page in store.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for entry in page.get("Contents", []):
                    found = store.get_object(Bucket=bucket, Key=entry["Key"])
                    member = tarfile.TarInfo(f"{bucket}/{entry['Key']}")
                    member.size, member.mtime = found["ContentLength"], int(entry["LastModified"].timestamp())
                    tar.addfile(member, found["Body"])
                    count += 1
    return count


def load(archive: BinaryIO) -> int:
    """Write all objects of an archive to the store; returns their number."""
    store = boto3.client("s3")
    present = {one["Name"] for one in store.list_buckets()["Buckets"]}
    count = 0
    with tarfile.open(fileobj=archive, mode="r|") as tar:
        for member in tar:
            bucket, _, key = member.name.partition("/")
            if bucket not in present:
                store.create_bucket(Bucket=bucket)
                present.add(bucket)
            content = tar.extractfile(member)
            assert content is not None, "an archive that save has written holds files only"
            # Only its method read, so that it is sent as it comes, in parts: an archive on a pipe cannot be read twice.
            store.upload_fileobj(SimpleNamespace(read=content.read), bucket, key)
            count += 1
    return count


def main() -> None:
    """Do what the command line asks for."""
    match sys.argv[1:]:
        case ["save"]:
            print(f"{save(sys.stdout.buffer):,} objects", file=sys.stderr)
        case ["load"]:
            print(f"{load(sys.stdin.buffer):,} objects", file=sys.stderr)
        case _:
            sys.exit(USAGE)


if __name__ == "__main__":
    main()
