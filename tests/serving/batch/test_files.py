"""Files of every kind in, files of every kind out: all columns kept, the same answers, and no row lost."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import math
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headway.errors import HeadwayError
from headway.serving.batch import ROWS_PER_PART
from headway.serving.batch.inputs import ReadingOptions
from headway.serving.package import ModelPackage
from tests import real_texts

TEXTS = ["a charming , funny film", 'tedious, he said: "no"', "neither\ngood nor bad", "one\rtwo"]
OUTPUTS = ["out.csv", "out.tsv", "out.jsonl", "out.parquet"]
CLASSES = ["negative", "positive", "unsure"]


def csv_of(**columns: Any) -> bytes:
    return pandas.DataFrame(columns).to_csv(index=False, quoting=csv.QUOTE_ALL).encode()


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("inner.csv", content)
    return stream.getvalue()


def parquet_of(**columns: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


INPUTS = {
    "in.csv": csv_of(id=range(4), text=TEXTS),
    "in.tsv": pandas.DataFrame({"id": range(4), "text": TEXTS})
    .to_csv(index=False, sep="\t", quoting=csv.QUOTE_ALL)
    .encode(),
    "in.jsonl": "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(TEXTS)).encode(),
    "in.json": json.dumps([{"id": i, "text": text} for i, text in enumerate(TEXTS)]).encode(),
    "in.parquet": parquet_of(id=range(4), text=TEXTS),
    "in.csv.gz": gzip.compress(csv_of(id=range(4), text=TEXTS)),
    "in.jsonl.bz2": bz2.compress("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in enumerate(TEXTS)).encode()),
    "in.zip": zipped(csv_of(id=range(4), text=TEXTS)),
}


@pytest.mark.parametrize("out", OUTPUTS)
@pytest.mark.parametrize("name", INPUTS)
def test_each_kind_of_file_gives_the_answers_of_predict_proba(label: Any, saved: Path, name: str, out: str) -> None:
    label.write(name, INPUTS[name])
    rows = label(name, out=out, all_probabilities=True)
    assert [row["text"] for row in rows] == TEXTS
    assert [str(row["id"]) for row in rows] == ["0", "1", "2", "3"]
    expected = ModelPackage.load(saved).predict_proba(TEXTS)
    assert [row["label"] for row in rows] == [CLASSES[best] for best in expected.argmax(axis=1)]
    found = [[float(row[f"probability of {name}"]) for name in CLASSES] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)
    np.testing.assert_allclose([float(row["probability"]) for row in rows], expected.max(axis=1), atol=1e-6, rtol=0)
    assert {row["model_version"] for row in rows} == {"7"}
    assert not any(row["reason"] for row in rows)
    assert (label.counts.rows, label.counts.labelled) == (4, 4)


def test_types_and_nested_values_of_json_and_parquet_are_kept(label: Any) -> None:
    rows = [
        {"text": "fine", "n": 3, "x": 0.5, "ok": True, "more": {"a": [1, None]}, "mixed": 1},
        {"text": "bad", "mixed": "b"},
    ]
    label.write("in.jsonl", "\n".join(map(json.dumps, rows)))
    first, second = label("in.jsonl")
    assert {name: first[name] for name in rows[0]} == rows[0]
    assert second["mixed"] == "b"
    label("in.jsonl", out="out.parquet")
    schema = pq.read_schema(label.folder / "out.parquet")
    assert [str(schema.field(name).type) for name in ("n", "x", "ok", "more", "mixed")] == [
        "int64",
        "double",
        "bool",
        "string",
        "string",
    ]
    assert str(schema.field("probability").type) == "float"
    (again, _) = label("out.parquet", out="again.parquet")
    assert (again["n"], json.loads(again["more"])) == (3, rows[0]["more"])


def test_columns_of_the_input_keep_their_names_and_ours_give_way(label: Any) -> None:
    label.write("in.csv", csv_of(text=TEXTS, label=["mine"] * 4, reason=["why"] * 4))
    row = label("in.csv", out="out.csv")[0]
    assert list(row) == ["text", "label", "reason", "predicted_label", "probability", "model_version", "predicted_reason"]
    assert (row["label"], row["reason"]) == ("mine", "why")
    assert row["predicted_label"] in CLASSES
    label.write("both.csv", csv_of(text=TEXTS, label=TEXTS, predicted_label=TEXTS))
    with pytest.raises(HeadwayError, match="predicted_label"):
        label("both.csv", out="other.csv")


def test_the_most_probable_labels_come_in_order(label: Any) -> None:
    label.write("in.csv", csv_of(text=TEXTS))
    for row in label("in.csv", top_k=3):
        probabilities = [row["probability"], row["probability_2"], row["probability_3"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert {row["label"], row["label_2"], row["label_3"]} == set(CLASSES)
        assert math.isclose(sum(probabilities), 1, abs_tol=1e-5)
    with pytest.raises(HeadwayError, match="--top-k"):
        label("in.csv", out="other.jsonl", top_k=4)


def test_rows_that_cannot_be_labelled_have_a_reason_and_are_counted(label: Any) -> None:
    label.write("in.csv", b'id,text\n1,fine\n2,\n3,<br />\n4,a,b\n5,"never closed\n6,good\nid,text\n7,' + b"caf\xe9 \xff\n")
    rows = label("in.csv", out="out.csv", knobs={"encoding": "utf-8"})
    assert [row["id"] for row in rows if row["label"]] == ["1", "6"]
    unlabelled = [row for row in rows if not row["label"]]
    assert len(unlabelled) == 6
    assert all(row["reason"] and not row["probability"] and row["model_version"] == "7" for row in unlabelled)
    assert unlabelled[2]["text"] == "4,a,b"  # a row that cannot be read stands where its text would be
    assert label.counts.labelled == 2
    assert label.counts.unlabelled.total() == 6
    assert label.counts.unlabelled == Counter(row["reason"] for row in unlabelled)


def test_bad_lines_and_missing_texts_of_json_are_reasons(label: Any) -> None:
    label.write(
        "in.jsonl",
        '{"text": "fine"}\n{"text": null}\n{"other": 1}\n[1]\n{"text": "cut\n{"text": ["a", "b"]}\n{"text": 12}\n',
    )
    rows = label("in.jsonl", out="out.parquet")
    assert [bool(row["label"]) for row in rows] == [True, False, False, False, False, False, True]
    assert all(bool(row["reason"]) != bool(row["label"]) for row in rows)
    assert label.counts.rows == 7


def test_texts_in_other_scripts_and_encodings_come_back_as_they_are(label: Any) -> None:
    chinese = list(dict.fromkeys(real_texts.chinese(300)[0]))[:100]
    arabic = real_texts.translations("ar")[:100]
    label.write("zh.csv", csv_of(text=chinese).decode().encode("gb18030"))
    label.write("ar.jsonl", "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in arabic))
    assert [row["text"] for row in label("zh.csv", out="zh-out.csv")] == chinese
    assert [row["text"] for row in label("ar.jsonl", out="ar-out.jsonl")] == arabic
    assert (label.counts.rows, label.counts.labelled > 90) == (len(arabic), True)


def test_answers_do_not_depend_on_the_texts_beside_them(label: Any, saved: Path, sentences: list[str]) -> None:
    """Lengths are mixed, in more than one part, and one text has a megabyte."""
    texts = [sentence * (1 + index % 7) for index, sentence in enumerate(sentences)]
    texts = (texts * (1 + ROWS_PER_PART // len(texts)))[: ROWS_PER_PART + 50]
    texts[10] = "good and bad " * 80_000
    label.write("in.csv", csv_of(text=texts))
    rows = label("in.csv", out="out.parquet")
    package = ModelPackage.load(saved)
    for index in (0, 10, 11, ROWS_PER_PART - 1, ROWS_PER_PART, len(texts) - 1):
        expected = package.predict_proba([texts[index]]).max()
        assert abs(rows[index]["probability"] - expected) <= 1e-6
    assert [row["text"] for row in rows] == texts


@pytest.fixture(scope="session")
def sentences(ingested: Any) -> list[str]:
    return [
        text for text in pq.read_table(ingested.layout.raw / "rows.parquet", columns=["text"])["text"].to_pylist() if text
    ][:500]


def test_standard_input_is_recognised_by_its_content(label: Any) -> None:
    for number, name in enumerate(("in.csv", "in.jsonl", "in.parquet", "in.csv.gz")):
        rows = label("-", stdin=INPUTS[name], out=f"{number}.jsonl")
        assert [row["text"] for row in rows] == TEXTS


def test_folders_and_globs_are_read_in_order_with_the_name_of_each_file(label: Any) -> None:
    for number in (10, 9):
        label.write(f"folder/r-{number}.csv", csv_of(text=[f"film {number}"]))
    label.write("folder/notes.md", "no data")
    for given, out in (("folder", "a.jsonl"), ("folder/r-*.csv", "b.jsonl")):
        rows = label(given, out=out)
        assert [(row["text"], row["source_file"]) for row in rows] == [("film 9", "r-9.csv"), ("film 10", "r-10.csv")]


def test_a_folder_of_documents_is_one_text_per_file(label: Any) -> None:
    label.write("docs/one/a.txt", "a charming film\nwith two lines")
    label.write("docs/two/b.txt", "tedious")
    rows = label("docs")
    assert [(row["source_file"], row["text"][:9]) for row in rows] == [("one/a.txt", "a charmin"), ("two/b.txt", "tedious")]


def test_a_file_behind_a_url_is_read(label: Any) -> None:
    label.write("in.csv", INPUTS["in.csv"])
    assert len(label(f"file://{label.folder / 'in.csv'}")) == 4


def test_a_csv_without_a_header_is_read_as_in_training_or_as_asked(label: Any) -> None:
    label.write("in.csv", "positive,a fine film\nnegative,a bad film\n")
    recorded = {"header": False, "columns": ["label", "text"]}
    asked = ReadingOptions(header=False, columns=("label", "text"))
    for rows in (label("in.csv", knobs=recorded), label("in.csv", out="b.jsonl", reading=asked)):
        assert [row["text"] for row in rows] == ["a fine film", "a bad film"]
    label.write("texts.csv", "a fine film\na bad film\n")
    with pytest.raises(HeadwayError, match="--no-header --columns"):  # else the first text would be lost as a header
        label("texts.csv", out="c.jsonl")
    rows = label("texts.csv", out="c.jsonl", reading=ReadingOptions(header=False, columns=("text",)))
    assert [row["text"] for row in rows] == ["a fine film", "a bad film"]


def test_the_text_column_is_that_of_training_or_the_named_or_the_likely_one(label: Any) -> None:
    label.write("in.csv", csv_of(id=range(4), review=TEXTS, headline=["x"] * 4))
    assert len(label("in.csv", knobs={"text_column": "review"})) == 4
    assert label("in.csv", out="b.jsonl")[0]["reason"] is None
    assert label("in.csv", out="c.jsonl", reading=ReadingOptions("headline"))[0]["label"]
    with pytest.raises(HeadwayError, match=r"--text-column.*headlin"):
        label("in.csv", out="d.jsonl", reading=ReadingOptions("headlines"))
    label.write("in.jsonl", json.dumps({"fields": {"body": "a fine film"}}))
    assert label("in.jsonl", out="e.jsonl", reading=ReadingOptions("fields.body"))[0]["label"]


@pytest.mark.parametrize("given", ["I could not stop laughing.", "Was it good?", "x" * 5000, "what *a* film", "no\0file"])
def test_a_text_in_place_of_a_file_is_told_apart(label: Any, given: str) -> None:
    with pytest.raises(HeadwayError, match="--text"):
        label(given)


def test_an_empty_file_is_refused_and_a_header_alone_gives_a_header(label: Any) -> None:
    label.write("empty.csv", "")
    with pytest.raises(HeadwayError, match=r"empty\.csv: empty"):
        label("empty.csv")
    label.write("header.csv", "id,text\n")
    for out in OUTPUTS:
        assert label("header.csv", out=out) == []
    assert (label.folder / "out.csv").read_text() == "id,text,label,probability,model_version,reason\n"
    assert pq.read_schema(label.folder / "out.parquet").names[:2] == ["id", "text"]


def test_an_output_of_an_unknown_kind_is_refused(label: Any) -> None:
    label.write("in.csv", INPUTS["in.csv"])
    with pytest.raises(HeadwayError, match=r"--out: out\.xlsx"):
        label("in.csv", out="out.xlsx")
