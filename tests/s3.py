"""An S3 endpoint on this machine, which ends with the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import s3fs
from moto.server import ThreadedMotoServer

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "secret-of-mine", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def s3_endpoint() -> Iterator[str]:
    """The URL of an empty store."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def s3_of_this_process() -> Iterator[s3fs.S3FileSystem]:
    """An empty store that this process finds through its environment, as it would find yours."""
    # fsspec keeps its connections by their arguments. The endpoint is none of these, so that an earlier test's would be used.
    s3fs.S3FileSystem.clear_instance_cache()
    with s3_endpoint() as url, pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": url, "no_proxy": "*"}.items():
            patch.setenv(name, value)
        yield s3fs.S3FileSystem(skip_instance_cache=True)
    s3fs.S3FileSystem.clear_instance_cache()
