"""Stage tokenize: every row is encoded as the saved tokenizer encodes its text alone, in the order of the rows."""

import os
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pyarrow.parquet as pq
import pytest

from headway.data.text.splits import SPLITS
from headway.data.tokenization.encoded import EncodedTexts
from headway.data.tokenization.tokenizer import TextEncoder, load
from headway.errors import HeadwayError
from headway.files import read_json
from headway.stages import tokenize as stage
from headway.stages.tokenize import tokenize
from tests.folders import sha256_of_folder
from tests.real_texts import chinese, english, translations, write_split

SMALL = {"tokenizer.vocabulary_size": 800, "tokenizer.max_length": 30}
ELSEWHERE = """
from headway import environment
environment.configure()
from pathlib import Path
from headway.layout import Layout
from headway.params import Params
from headway.stages.tokenize import tokenize
tokenize(Params.model_validate_json(Path("chosen.json").read_text(encoding="utf-8")), Layout(Path(".")))
"""


def prepared(layout, texts, labels):
    """Every fifth text for validation, every fifth for the test, the rest for training."""
    rows = list(zip(texts, labels, strict=True))
    for name, part in zip(SPLITS, (rows[0::5] + rows[1::5] + rows[2::5], rows[3::5], rows[4::5]), strict=True):
        write_split(layout.prepared / f"{name}.parquet", *map(list, zip(*part, strict=True)))
    return layout


@pytest.fixture
def in_english(project):
    return prepared(project, *english(500))


@pytest.fixture
def in_chinese(project):
    return prepared(project, *chinese(500))


def split_of(layout, name):
    return pq.read_table(layout.prepared / f"{name}.parquet"), EncodedTexts.open(layout.encoded / f"{name}.arrow")


@pytest.mark.parametrize("kind", ["word", "bpe", "unigram"])
def test_every_row_is_encoded_as_its_text_alone_in_order(in_english, params, kind, monkeypatch):
    monkeypatch.setattr(stage, "BATCH_ROWS", 64)
    tokenize(params.override({**SMALL, "tokenizer.kind": kind}), in_english)
    fitted = load(in_english.encoded / "tokenizer.json")
    for name in SPLITS:
        rows, opened = split_of(in_english, name)
        assert rows.num_rows == len(opened)
        for index, text in enumerate(rows["text"].to_pylist()):
            np.testing.assert_array_equal(opened[index], TextEncoder(fitted, 30)([text])[0])
        assert opened.labels.tolist() == rows["label_id"].to_pylist()
        assert list(opened.ids) == rows["id"].to_pylist()


def test_the_result_does_not_depend_on_the_batch_size(in_chinese, params, monkeypatch):
    chosen = params.override(SMALL)
    tokenize(chosen, in_chinese)
    before = sha256_of_folder(in_chinese.encoded)
    monkeypatch.setattr(stage, "BATCH_ROWS", 7)
    tokenize(chosen, in_chinese)
    assert sha256_of_folder(in_chinese.encoded) == before


@pytest.mark.parametrize("threads", ["1", "2"])
def test_another_process_writes_the_same_bytes(in_chinese, params, threads):
    chosen = params.override(SMALL)
    tokenize(chosen, in_chinese)
    before = sha256_of_folder(in_chinese.encoded)
    (in_chinese.root / "chosen.json").write_text(chosen.model_dump_json(), encoding="utf-8")
    env = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": "12", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=in_chinese.root, env=env, capture_output=True, check=True)
    assert sha256_of_folder(in_chinese.encoded) == before


def test_the_tokenizer_is_fitted_on_the_training_split_alone(in_english, params):
    chosen = params.override({**SMALL, "tokenizer.kind": "word"})
    tokenize(chosen, in_english)
    before = (in_english.encoded / "tokenizer.json").read_bytes()
    for name in ("validation", "test"):
        write_split(in_english.prepared / f"{name}.parquet", ["unheard words " * 20, "unheard"], [0, 1])
    write_split(in_english.prepared / "unlabelled.parquet", ["unheard words " * 20])
    report = tokenize(chosen, in_english)
    assert (in_english.encoded / "tokenizer.json").read_bytes() == before
    assert report.splits["test"].unknown_share >= 0.4


def test_the_metrics_have_the_kind_and_the_scripts_that_decided_it(in_chinese, params):
    report = tokenize(params.override(SMALL), in_chinese)
    assert asdict(report) == read_json(in_chinese.metrics("tokens"), made_by="tokenize")
    assert report.kind == "unigram"
    assert next(iter(report.script_shares)) == "Han"
    assert report.script_shares["Han"] > 0.9
    assert report.share_without_spaces == pytest.approx(report.script_shares["Han"], abs=0.01)
    assert sum(report.script_shares.values()) == pytest.approx(1, abs=1e-4)
    assert report.vocabulary_size == load(in_chinese.encoded / "tokenizer.json").get_vocab_size() <= 800
    asked = tokenize(params.override({**SMALL, "tokenizer.kind": "word"}), in_chinese)
    assert (asked.kind, asked.script_shares) == ("word", report.script_shares)


@pytest.mark.parametrize("name", SPLITS)
def test_the_metrics_describe_the_files(in_english, params, name):
    report = tokenize(params.override({**SMALL, "tokenizer.kind": "word"}), in_english).splits[name]
    rows, opened = split_of(in_english, name)
    lengths = [len(opened[index]) for index in range(len(opened))]
    assert asdict(report) == {
        "rows": rows.num_rows,
        "tokens": sum(lengths),
        "median_length": float(np.median(lengths)),
        "full_length_share": pytest.approx(np.mean([length == 30 for length in lengths]), abs=1e-6),
        "unknown_share": pytest.approx(np.mean(opened.tokens == 1), abs=1e-6),
    }
    assert report.full_length_share > 0
    assert report.unknown_share > 0


def test_unlabelled_texts_are_another_split_with_the_label_minus_one(in_english, params):
    texts = english(700)[0]
    write_split(in_english.prepared / "unlabelled.parquet", texts)
    report = tokenize(params.override(SMALL), in_english)
    opened = EncodedTexts.open(in_english.encoded / "unlabelled.arrow")
    fitted = load(in_english.encoded / "tokenizer.json")
    assert len(opened) == report.splits["unlabelled"].rows == len(texts)
    assert set(opened.labels.tolist()) == {-1}
    for index, ids in enumerate(TextEncoder(fitted, 30)(texts)):
        np.testing.assert_array_equal(opened[index], ids)


@pytest.mark.parametrize("texts", [[], None])
def test_unlabelled_texts_are_optional(in_english, params, texts):
    if texts is not None:
        write_split(in_english.prepared / "unlabelled.parquet", texts)
    report = tokenize(params.override(SMALL), in_english)
    assert report.splits.get("unlabelled") == (None if texts is None else stage.SplitTokens(rows=0, tokens=0))
    assert (in_english.encoded / "unlabelled.arrow").exists() == (texts is not None)


@pytest.mark.parametrize("language", ["ja", "th", "ar", "he"])
def test_other_languages_have_few_unknown_tokens(project, params, language):
    texts = translations(language)
    prepared(project, texts, [index % 2 for index in range(len(texts))])
    report = tokenize(params, project)
    assert report.kind == ("unigram" if language in ("ja", "th") else "bpe")  # few texts, in which many words occur once
    assert report.splits["train"].unknown_share < 0.05
    assert report.splits["test"].tokens > report.splits["test"].rows


def test_a_missing_or_damaged_split_is_an_error_that_leaves_the_old_encoding(in_english, params):
    chosen = params.override(SMALL)
    tokenize(chosen, in_english)
    before = sha256_of_folder(in_english.encoded)
    whole = (in_english.prepared / "test.parquet").read_bytes()
    (in_english.prepared / "test.parquet").write_bytes(whole[:1000])
    with pytest.raises(HeadwayError, match=r"test\.parquet: damaged"):
        tokenize(chosen, in_english)
    (in_english.prepared / "train.parquet").unlink()
    with pytest.raises(HeadwayError, match=r"train\.parquet: missing"):
        tokenize(chosen, in_english)
    assert sha256_of_folder(in_english.encoded) == before
    assert not list(in_english.root.glob("data/*.partial"))
