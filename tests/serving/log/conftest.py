"""A log in a temporary folder, a served model, and a store whose disk can fill up."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem

from headway.params import LogParams
from headway.serving.log import PredictionLog
from headway.serving.log.writer import Limits
from headway.serving.package import ModelPackage

#: Parts are closed at once.
AT_ONCE = Limits(seconds_per_part=0.01, first_pause=0.01, longest_pause=0.02)
#: Parts are closed when the log is.
AT_THE_END = Limits(seconds_per_part=3600)


@dataclass(frozen=True)
class Served:
    package: ModelPackage
    version: str = "7"


@pytest.fixture(scope="package")
def served(saved: Path) -> Served:
    return Served(ModelPackage.load(saved))


@pytest.fixture
def log_params(tmp_path: Path) -> LogParams:
    return LogParams(folder=str(tmp_path / "log"), texts="full", keep_days=90)


@pytest.fixture
def answer(log_params: LogParams, served: Served) -> Callable[..., np.ndarray]:
    """Logs the answers for some texts in one or more parts, and returns their probabilities."""

    def log(ids: list[str], texts: list[Any], params: LogParams = log_params, **options: Any) -> np.ndarray:
        written = PredictionLog.open(params, "http", AT_THE_END)
        probabilities, _ = served.package.classify(texts)
        written.add(options.pop("model", served), ids, texts, probabilities, **options)
        written.close(60)
        assert written.counters.rows_written == len(ids)
        return probabilities

    return log


class FailingFileSystem(LocalFileSystem):
    """A local folder behind a URL, on a disk that is full while ``is_full``, and in a network that hangs while ``hangs``."""

    protocol = "failing"
    is_full = False
    hangs: Any = None  # an event that ends it
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return LocalFileSystem._strip_protocol(str(path).removeprefix("failing://"))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        if FailingFileSystem.hangs:
            FailingFileSystem.hangs.wait()
        if FailingFileSystem.is_full:
            with open(path, "wb") as file:
                file.write(value[: len(value) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().pipe_file(path, value, mode, **options)


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[type[FailingFileSystem]]:
    fsspec.register_implementation("failing", FailingFileSystem, clobber=True)
    yield FailingFileSystem
    FailingFileSystem.is_full, FailingFileSystem.hangs = False, None
