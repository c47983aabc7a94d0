"""Every option of the data stages works on the shipped data sets, and has its effect."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from tokenizers import Tokenizer

from headway.data.text.splits import SPLITS
from headway.data.tokenization import tokenizer
from headway.layout import Layout
from headway.params import Params
from headway.stages.ingest import ingest
from headway.stages.prepare import prepare
from headway.stages.tokenize import tokenize
from tests.conftest import new_project

OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "words": {"tokenizer.kind": "word"},
    "bytes": {"tokenizer.kind": "bpe"},
    "pieces": {"tokenizer.kind": "unigram"},
    "few": {"tokenizer.vocabulary_size": 500, "tokenizer.min_frequency": 5},
    "composed": {"tokenizer.unicode": "nfc"},
    "raw": {"tokenizer.unicode": "none", "tokenizer.lowercase": False, "tokenizer.strip_html": False},
    "no accents": {"tokenizer.strip_accents": True},
    "short": {"tokenizer.max_length": 16},
    "sample": {"data.max_rows": 2000},
    "equal texts only": {"split.near_duplicates": 0.0},
    "loose copies": {"split.near_duplicates": 0.5},
    "other shares": {"split.train": 0.5, "split.validation": 0.25, "split.test": 0.25, "split.salt": "other"},
    "many in training": {"split.first_rows_in_training": 500},
    "short texts only": {"data.max_characters": 120, "data.max_bad_share": 1.0},
}

#: Reviews are longer than sentences.
IMDB_OPTIONS = {**OPTIONS, "short texts only": {"data.max_characters": 800, "data.max_bad_share": 1.0}}


def through(params: Params, ingested: Layout, root: Any) -> tuple[dict[str, Any], dict[str, Any], Tokenizer]:
    """The results of prepare and tokenize, and the tokenizer."""
    layout = new_project(root)
    shutil.copytree(ingested.raw, layout.raw)
    profile, report = prepare(params, layout), tokenize(params, layout)
    assert profile.rows_in == (profile.rows_kept + sum(profile.rows_quarantined.values()) + profile.rows_not_sampled)
    assert profile.leakage.actual_split == 0
    assert [report.splits[name].rows for name in SPLITS] == [profile.splits[name] for name in SPLITS]
    fitted = tokenizer.load(layout.encoded / "tokenizer.json")
    assert fitted.get_vocab_size() == report.vocabulary_size <= params.tokenizer.vocabulary_size
    return profile, report, fitted


def same(fitted: Tokenizer, *words: str) -> bool:
    """Whether differently written words are the same known token."""
    first, *others = (array.tolist() for array in tokenizer.TextEncoder(fitted, 100)(list(words)))
    return first != [tokenizer.UNKNOWN_ID] and all(other == first for other in others)


@pytest.fixture(scope="module")
def usual(ingested: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any], Tokenizer]:
    return through(ingested.params, ingested.layout, tmp_path_factory.mktemp("usual") / "project")


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_works_on_rotten_tomatoes(option: str, ingested: Any, usual: Any, tmp_path: Any) -> None:
    params = ingested.params.override(OPTIONS[option])
    profile, report, fitted = through(params, ingested.layout, tmp_path / "project")
    wide, torn = "ｆｉｌｍ", "cliche\u0301"  # full-width letters; a combining accent
    differs = {
        "as it is": lambda: same(fitted, "film", wide) and same(fitted, "cliché", torn) and not same(fitted, "film", "fîlm"),
        "words": lambda: report.kind == "word",
        "bytes": lambda: (report.kind, report.splits["test"].unknown_share) == ("bpe", 0),
        "pieces": lambda: report.kind == "unigram" and report.splits["test"].unknown_share < 0.001,
        "few": lambda: report.vocabulary_size == 500,
        "composed": lambda: same(fitted, "cliché", torn) and not same(fitted, "film", wide),
        "no accents": lambda: same(fitted, "cliche", "cliché", torn) and same(fitted, "film", "fîlm"),
        "raw": lambda: (
            not same(fitted, "cliché", torn)
            and not same(fitted, "film", "Film")
            and report.vocabulary_size > usual[1].vocabulary_size
        ),
        "short": lambda: report.splits["train"].full_length_share > 0.5,
        "sample": lambda: 1800 < profile.rows_kept < 2200,
        "equal texts only": lambda: profile.duplicates.near == 0,
        "loose copies": lambda: profile.duplicates.near > usual[0].duplicates.near,
        "other shares": lambda: profile.splits["test"] > 2 * usual[0].splits["test"],
        "many in training": lambda: profile.splits["test"] < usual[0].splits["test"],
        "short texts only": lambda: profile.rows_quarantined["too long"] > 3000,
    }[option]
    assert differs(), (profile, report)


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_works_on_imdb(option: str, params: Params, tmp_path: Any, tmp_path_factory: Any) -> None:
    chosen = params.override({"data.subset": "imdb", **IMDB_OPTIONS[option]})
    layout = new_project(tmp_path / "ingested")
    ingest(chosen, layout)
    profile, _, _ = through(chosen, layout, tmp_path / "project")
    assert profile.rows_in == 25_000
