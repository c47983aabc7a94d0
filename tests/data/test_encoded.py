"""The encoded data set: what is written is what is mapped back, without a copy and without a way to change it."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.batching.datamodule import subset
from headway.data.tokenization import encoded
from headway.data.tokenization.encoded import EncodedTexts, write
from headway.data.tokenization.fitting import fit, survey
from headway.data.tokenization.tokenizer import TextEncoder
from headway.errors import HeadwayError
from tests.real_texts import english

# Batches of texts.
encodings = st.lists(st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20), max_size=10), max_size=4)


def batches_of(parts):
    """Rows as :func:`write` takes them: labels 0, 1, 2, 0, …, and ids that tell the row."""
    start = 0
    for part in parts:
        numbers = range(start, start + len(part))
        ids, labels = [f"id {number}" for number in numbers], [number % 3 for number in numbers]
        yield pa.array(ids, pa.string()), pa.array(labels, pa.int32()), [np.array(text, dtype=np.int32) for text in part]
        start += len(part)


@pytest.fixture(scope="module")
def real(params):
    """Encoded reviews."""
    texts = english(600)[0]
    knobs = params.tokenizer.model_copy(update={"vocabulary_size": 2000})
    return TextEncoder(fit(texts, knobs, survey(texts)), 512)(texts)


@pytest.fixture(scope="module")
def file(real, tmp_path_factory):
    path = tmp_path_factory.mktemp("encoded") / "train.arrow"
    write(path, batches_of([real[:250], real[250:251], real[251:]]))
    return path


@given(encodings)
def test_what_is_written_is_what_is_opened(tmp_path_factory, parts):
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


def test_the_batches_that_rows_come_in_leave_no_trace(real, file, tmp_path):
    write(tmp_path / "other.arrow", batches_of([real]))
    assert (tmp_path / "other.arrow").read_bytes() == file.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["other.arrow"]


def test_writing_that_fails_leaves_no_scratch(real, tmp_path):
    def broken():
        yield from batches_of([real])
        raise HeadwayError("no more")

    with pytest.raises(HeadwayError, match="no more"):
        write(tmp_path / "train.arrow", broken())
    assert list(tmp_path.glob("*.tokens")) == []


def test_writing_holds_no_more_tokens_the_more_there_are(real, tmp_path):
    """What Arrow allocates at its peak; the tokens are 8 MB, the rest is some bytes a row."""
    copies = 100
    before = pa.default_memory_pool().max_memory()
    write(tmp_path / "train.arrow", batches_of([real] * copies))
    grown = pa.default_memory_pool().max_memory() - before
    opened = EncodedTexts.open(tmp_path / "train.arrow")
    assert opened.tokens.nbytes == copies * sum(text.nbytes for text in real) > 5_000_000
    assert grown < 60 * len(opened) < opened.tokens.nbytes


def test_everything_is_mapped_and_nothing_copied_into_memory(file):
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


def test_ids_are_read_when_they_are_asked_for(file, monkeypatch):
    monkeypatch.setattr(encoded, "CHUNK", 7)
    ids = EncodedTexts.open(file).ids
    assert len(ids) == 600
    assert (ids[0], ids[-1], ids[np.int64(3)], ids[5:7]) == ("id 0", "id 599", "id 3", ["id 5", "id 6"])
    assert list(ids) == [f"id {index}" for index in range(600)]
    assert "id 17" in ids
    with pytest.raises(IndexError):
        ids[600]


def test_a_token_is_counted_in_all_of_the_file(file, real, monkeypatch):
    monkeypatch.setattr(encoded, "CHUNK", 1000)
    assert EncodedTexts.open(file).count(1) == sum(int((text == 1).sum()) for text in real) > 0


def test_a_missing_file_is_told_with_the_stage_that_makes_it(tmp_path):
    with pytest.raises(HeadwayError, match=r"train\.arrow: missing; it is made by `dvc repro tokenize`"):
        EncodedTexts.open(tmp_path / "train.arrow")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_told_as_damaged(file, tmp_path, share):
    whole = file.read_bytes()
    (tmp_path / "train.arrow").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(HeadwayError, match=r"train\.arrow: damaged .*dvc repro --force tokenize") as caught:
        EncodedTexts.open(tmp_path / "train.arrow")
    assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_is_told_as_damaged(tmp_path):
    (tmp_path / "train.arrow").write_text("text,label\n" * 100)
    with pytest.raises(HeadwayError, match="damaged"):
        EncodedTexts.open(tmp_path / "train.arrow")


@pytest.mark.parametrize("parts", [0, 2])
def test_an_arrow_file_without_its_one_batch_is_told_as_damaged(tmp_path, parts):
    batch = pa.RecordBatch.from_arrays([pa.array(["a"]), pa.array([0]), pa.array([[1]])], schema=encoded.SCHEMA)
    with pa.OSFile(str(tmp_path / "train.arrow"), "wb") as sink, pa.ipc.new_file(sink, encoded.SCHEMA) as writer:
        for _ in range(parts):
            writer.write_batch(batch)
    with pytest.raises(HeadwayError, match="damaged"):
        EncodedTexts.open(tmp_path / "train.arrow")


@given(st.data())
def test_a_subset_is_those_texts_in_that_order(file, data):
    every = EncodedTexts.open(file)
    indices = data.draw(st.lists(st.integers(0, len(every) - 1), max_size=20))
    some = subset(every, indices)
    assert [text.tolist() for text in (some[i] for i in range(len(some)))] == [every[i].tolist() for i in indices]
    assert some.labels.tolist() == [every.labels[i] for i in indices]
    assert list(some.ids) == [every.ids[i] for i in indices]
