"""Packages of a model whose versions answer differently, and a source of them that tests control."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from headway.model.joint import JointClassifier
from headway.serving.live.model import ServedModel, load
from tests.serving.conftest import save

SECONDS = 60.0


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the test fails if it does not within a minute."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


class Shelf:
    """A source that serves packages from folders, one for each key.

    Attributes:
        key: of the newest model.
        problem: what :meth:`newest` raises, None for nothing.
        fetched: keys in the order in which they were fetched.
        asked: number of calls of :meth:`newest`.
    """

    def __init__(self, folders: dict[str, Path], key: str, moves: bool = True) -> None:
        self.folders, self.key, self.moves = folders, key, moves
        self.problem: Exception | None = None
        self.fetch_problem: Exception | None = None
        self.fetched: list[str] = []
        self.asked = 0

    def newest(self) -> str:
        self.asked += 1
        if self.problem:
            raise self.problem
        return self.key

    def fetch(self, key: str) -> ServedModel:
        self.fetched.append(key)
        if self.fetch_problem:
            raise self.fetch_problem
        return load(self.folders[key], "reviews", key)


@pytest.fixture(scope="package")
def versions(classifier: JointClassifier, tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packages by version; only to be read."""
    bias = classifier.attention.output.bias
    before, folders = bias.detach().clone(), {}
    for version in "123":
        with torch.no_grad():
            bias[0] += 1
        folders[version] = save(tmp_path_factory.mktemp(f"version{version}"), classifier, tokenizer_file)
    bias.data.copy_(before)
    return folders


@pytest.fixture
def shelf(versions: dict[str, Path], tmp_path: Path) -> Shelf:
    """Copies of the packages; version 1 is the newest at first."""
    copies = {version: Path(shutil.copytree(folder, tmp_path / version)) for version, folder in versions.items()}
    return Shelf(copies, "1")
