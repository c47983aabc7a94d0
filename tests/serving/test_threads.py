"""Batches of one call are computed side by side, which changes neither the answers nor PyTorch's number of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from headway.serving.package import ModelPackage, model_package
from headway.serving.package.model_package import in_threads

PATIENCE = 60.0


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def sentences(ingested: Any) -> list[str]:
    """Real sentences, and a few long ones."""
    rows: list[str] = pq.read_table(ingested.layout.raw / "rows.parquet", columns=["text"])["text"].to_pylist()
    return [*rows[:300], *(" ".join(rows[start : start + 20]) for start in range(0, 100, 20))]


def test_answers_do_not_depend_on_the_number_of_threads(
    saved: Path, sentences: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_package, "TOKENS_PER_BATCH", 64)
    model = ModelPackage.load(saved)
    found = model.predict_proba(sentences)
    torch.set_num_threads(1)
    np.testing.assert_allclose(found, model.predict_proba(sentences), atol=1e-6)
    assert len(np.unique(found.round(4), axis=0)) > len(sentences) / 2


def test_two_batches_are_computed_at_the_same_time_by_one_thread_each() -> None:
    both = threading.Barrier(2, timeout=PATIENCE)
    numbers: list[int] = []

    def compute(_: list[int]) -> None:
        both.wait()
        numbers.append(torch.get_num_threads())

    in_threads(compute, [[0], [1]])
    assert numbers == [1, 1]


def test_one_batch_or_one_thread_needs_no_other_thread() -> None:
    threads: list[int] = []

    def compute(_: list[int]) -> None:
        threads.append(threading.get_ident())

    in_threads(compute, [[0]])
    torch.set_num_threads(1)
    in_threads(compute, [[0], [1]])
    assert set(threads) == {threading.get_ident()}


@pytest.mark.parametrize("fails", [False, True])
def test_this_thread_and_new_ones_keep_their_number_of_threads(fails: bool) -> None:
    def compute(_: list[int]) -> None:
        if fails:
            raise ArithmeticError

    try:
        in_threads(compute, [[0], [1], [2]])
    except ArithmeticError:
        assert fails
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2
