"""Encoded texts are mapped back as they were written, read-only and without a copy."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.batching.datamodule import subset
from headway.data.tokenization import encoded
from headway.data.tokenization.encoded import EncodedBatch, EncodedTexts, write
from headway.data.tokenization.fitting import fit, measure
from headway.data.tokenization.tokenizer import TextEncoder
from headway.errors import HeadwayError, StageOutputError
from tests.real_texts import english

# Batches of texts.
encodings = st.lists(st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20), max_size=10), max_size=4)


def batches_of(parts):
    """Batches for :func:`write`, with labels 0, 1, 2, 0, … and ids that contain the row number."""
    start = 0
    for part in parts:
        numbers = range(start, start + len(part))
        ids, labels = [f"id {number}" for number in numbers], [number % 3 for number in numbers]
        tokens = [np.array(text, dtype=np.int32) for text in part]
        yield EncodedBatch(pa.array(ids, pa.string()), pa.array(labels, pa.int32()), tokens)
        start += len(part)


@pytest.fixture(scope="module")
def real(params):
    """Encoded reviews."""
    texts = english(600)[0]
    knobs = params.tokenizer.model_copy(update={"vocabulary_size": 2000})
    return TextEncoder(fit(texts, knobs, measure(texts)), 512)(texts)


@pytest.fixture(scope="module")
def file(real, tmp_path_factory):
    path = tmp_path_factory.mktemp("encoded") / "train.arrow"
    write(path, batches_of([real[:250], real[250:251], real[251:]]))
    return path


@given(encodings)
def test_texts_are_opened_as_they_were_written(tmp_path_factory, parts):
    path = tmp_path_factory.getbasetemp() / "texts.arrow"
    write(path, batches_of(parts))
    opened = EncodedTexts.open(path)
    texts = [text for part in parts for text in part]
    assert len(opened) == len(texts)
    assert [opened[index].tolist() for index in range(len(opened))] == texts
    assert opened.labels.tolist() == [index % 3 for index in range(len(texts))]
    assert list(opened.ids) == [f"id {index}" for index in range(len(texts))]
    assert opened.lengths.tolist() == [len(text) for text in texts]
    assert (opened.tokens.dtype, opened.offsets.dtype, opened.labels.dtype) == (np.int32, np.int64, np.int32)


def test_the_file_does_not_depend_on_how_rows_are_batched(real, file, tmp_path):
    write(tmp_path / "other.arrow", batches_of([real]))
    assert (tmp_path / "other.arrow").read_bytes() == file.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["other.arrow"]


def test_a_failed_write_leaves_no_spool_file(real, tmp_path):
    def broken():
        yield from batches_of([real])
        raise HeadwayError("no more")

    with pytest.raises(HeadwayError, match="no more"):
        write(tmp_path / "train.arrow", broken())
    assert list(tmp_path.glob("*.tokens")) == []


def test_writing_does_not_hold_the_tokens_in_memory(real, tmp_path):
    """Peak allocation of Arrow: the tokens are 8 MB, everything else is a few bytes per row."""
    copies = 100
    before = pa.default_memory_pool().max_memory()
    write(tmp_path / "train.arrow", batches_of([real] * copies))
    grown = pa.default_memory_pool().max_memory() - before
    opened = EncodedTexts.open(tmp_path / "train.arrow")
    assert opened.tokens.nbytes == copies * sum(text.nbytes for text in real) > 5_000_000
    assert grown < 60 * len(opened) < opened.tokens.nbytes


def test_everything_is_mapped_and_nothing_is_copied_into_memory(file):
    before = pa.total_allocated_bytes()
    opened = EncodedTexts.open(file)
    assert opened.tokens.nbytes > 40_000
    assert pa.total_allocated_bytes() == before
    for array in (opened.tokens, opened.offsets, opened.labels):
        assert not array.flags.owndata
    if sys.platform == "linux":
        assert str(file) in Path("/proc/self/maps").read_text()


def test_the_mapped_data_cannot_be_changed(file):
    opened = EncodedTexts.open(file)
    with pytest.raises(ValueError, match="read-only"):
        opened[0][0] = 7


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(StageOutputError, match=r"train\.arrow: missing"):
        EncodedTexts.open(tmp_path / "train.arrow")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_reported_as_damaged(file, tmp_path, share):
    whole = file.read_bytes()
    (tmp_path / "train.arrow").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(StageOutputError, match=r"train\.arrow: damaged") as caught:
        EncodedTexts.open(tmp_path / "train.arrow")
    assert "\n" not in str(caught.value)


def test_a_file_in_another_format_is_reported_as_damaged(tmp_path):
    (tmp_path / "train.arrow").write_text("text,label\n" * 100)
    with pytest.raises(StageOutputError, match="damaged"):
        EncodedTexts.open(tmp_path / "train.arrow")


@pytest.mark.parametrize("parts", [0, 2])
def test_an_arrow_file_without_exactly_one_batch_is_reported_as_damaged(tmp_path, parts):
    batch = pa.RecordBatch.from_arrays([pa.array(["a"]), pa.array([0]), pa.array([[1]])], schema=encoded.SCHEMA)
    with pa.OSFile(str(tmp_path / "train.arrow"), "wb") as sink, pa.ipc.new_file(sink, encoded.SCHEMA) as writer:
        for _ in range(parts):
            writer.write_batch(batch)
    with pytest.raises(StageOutputError, match="damaged"):
        EncodedTexts.open(tmp_path / "train.arrow")


@given(st.data())
def test_a_subset_has_the_selected_texts_in_their_order(file, data):
    every = EncodedTexts.open(file)
    indices = data.draw(st.lists(st.integers(0, len(every) - 1), max_size=20))
    some = subset(every, indices)
    assert [text.tolist() for text in (some[i] for i in range(len(some)))] == [every[i].tolist() for i in indices]
    assert some.labels.tolist() == [every.labels[i] for i in indices]
    assert list(some.ids) == [every.ids[i] for i in indices]
