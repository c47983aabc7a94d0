"""Which rows, columns and names are read from files of unusual kinds."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headway.errors import HeadwayError
from headway.serving.batch.inputs import ReadingOptions
from headway.serving.batch.records import unique

UNNAMED = {"text_column": "body"}  # a name that no file here has


@pytest.mark.parametrize("first", ["No comment", "great text", "Bad review!", "1,good review", "text,2.5"])
def test_a_first_row_with_a_usual_word_is_no_header(label: Any, first: str) -> None:
    label.write("in.csv", f"{first}\n{first}\n")
    with pytest.raises(HeadwayError, match="--no-header --columns"):
        label("in.csv", knobs=UNNAMED)


@pytest.mark.parametrize("name", ["review text", "customer_comment", "sentence1", "tweetText", "评论内容"])
def test_a_header_of_usual_words_is_one(label: Any, name: str) -> None:
    label.write("in.csv", f"{name}\na fine film\na bad film\n")
    assert [row[name] for row in label("in.csv", knobs=UNNAMED)] == ["a fine film", "a bad film"]


def test_names_of_columns_keep_the_first_row_if_training_had_no_header(label: Any) -> None:
    label.write("in.csv", "positive,a fine film\nnegative,a bad film\n")
    knobs = {"header": False, "columns": ["label", "text"]}
    rows = label("in.csv", knobs=knobs, reading=ReadingOptions(columns=("kind", "text")))
    assert [row["text"] for row in rows] == ["a fine film", "a bad film"]
    rows = label("in.csv", out="b.jsonl", knobs=knobs, reading=ReadingOptions(header=True, columns=("kind", "text")))
    assert [row["text"] for row in rows] == ["a bad film"]


@pytest.mark.parametrize(
    ("columns", "delimiter"),
    [(("text",), ","), (("id", "text"), ","), (("id", "text"), ";"), (("id", "text", "label", "more"), "\t")],
)
def test_a_wrong_number_of_columns_is_refused(label: Any, columns: tuple[str, ...], delimiter: str) -> None:
    label.write("x.csv", delimiter.join(["1", "a fine film", "good"]) + "\n")
    with pytest.raises(HeadwayError, match=rf"--columns: names {len(columns)} columns?, and x\.csv has 3"):
        label("x.csv", reading=ReadingOptions(header=False, columns=columns))


def test_files_of_one_name_are_told_apart_by_their_folders(label: Any) -> None:
    for name in ("a/x.csv", "b/x.csv", "c/y.csv", "d/a/y.csv", "e/a/y.csv", "a/sub/z.csv", "b/sub/z.csv"):
        label.write(name, f"text\n{name}\n")

    def files(*given: str) -> list[str]:
        return [row["source_file"] for row in label(*given, out="out.jsonl", restart=True)]

    assert files("a/x.csv", "c/y.csv") == ["x.csv", "y.csv"]
    assert files("a/x.csv", "b/x.csv", "c/y.csv") == ["a/x.csv", "b/x.csv", "y.csv"]
    assert files("a/sub", "b/**/z.csv") == ["z.csv", "sub/z.csv"]
    assert files("a/*/z.csv", "b/*/z.csv") == ["a/sub/z.csv", "b/sub/z.csv"]
    assert files("d/a/y.csv", "e/a/y.csv") == [f"{label.folder}/d/a/y.csv", f"{label.folder}/e/a/y.csv"]


def test_json_numbers_that_no_float_holds_become_strings_in_parquet(label: Any) -> None:
    values = [{"text": "fine", "n": 2**53 + 1, "m": 2**60}, {"text": "bad", "n": 0.5, "m": 1}]
    label.write("in.jsonl", "\n".join(map(json.dumps, values)))
    rows = label("in.jsonl", out="out.parquet")
    assert [(row["n"], row["m"]) for row in rows] == [(str(2**53 + 1), 2**60), ("0.5", 1)]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.large_string())])
def test_invalid_characters_in_parquet_are_replaced(label: Any, kind: pa.DataType) -> None:
    text = kind.value_type if pa.types.is_dictionary(kind) else kind
    raw = pa.large_binary() if text == pa.large_string() else pa.binary()
    column = pa.array([b"caf\xe9", b"fine"], raw).view(text)
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), column) if kind != text else column
    pq.write_table(pa.table({"text": ["fine", "bad"], "name": column}), label.folder / "in.parquet")
    rows = label("in.parquet", out="out.parquet")
    assert [row["name"] for row in rows] == ["caf\ufffd", "fine"]


def test_times_after_the_year_9999_become_strings(label: Any) -> None:
    for unit, far in (("s", 320 * 10**9), ("us", 320 * 10**15)):
        column = pa.array([0, None, far], pa.int64()).cast(pa.timestamp(unit))
        pq.write_table(pa.table({"text": ["fine"] * 3, "at": column}), label.folder / "in.parquet")
        rows = label("in.parquet", out=f"{unit}.parquet")
        assert [row["at"] and row["at"][:5] for row in rows] == ["1970-", None, "12110"]
    pq.write_table(pa.table({"text": ["fine"], "at": pa.array([0], pa.timestamp("us"))}), label.folder / "in.parquet")
    assert label("in.parquet", out="near.parquet")[0]["at"] == datetime.datetime(1970, 1, 1)


@pytest.mark.parametrize(("name", "content"), [("in.json", "[]"), ("in.jsonl", "[1]\n2\n"), ("in.jsonl", "[]\n")])
def test_json_without_an_object_is_refused(label: Any, name: str, content: str) -> None:
    label.write(name, content)
    with pytest.raises(HeadwayError, match=rf"{name}: holds no row with a column"):
        label(name)


def test_a_zip_file_in_standard_input_is_refused(label: Any) -> None:
    with pytest.raises(HeadwayError, match="zip file"):
        label("-", stdin=b"PK\x03\x04...")


def test_each_column_has_a_name_of_its_own() -> None:
    assert unique(["text", "text", "text (2)", "text", "a"]) == ["text", "text (3)", "text (2)", "text (4)", "a"]
    assert unique(["a", "text", "text"]) == ["a", "text", "text (3)"]


@pytest.mark.parametrize("given", ["file://[x/a.csv", "file://~nosuchuser-at-all/a.csv"])
def test_a_damaged_url_is_no_file(label: Any, given: str) -> None:
    with pytest.raises(HeadwayError, match="--text"):
        label(given)
