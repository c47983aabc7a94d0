"""Files of every kind give the same rows, and one that cannot be read is refused in one line."""

import gzip
import hashlib
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headway.data.sources.files import files_to_sample
from headway.data.sources.source import CHARACTERS_PER_BATCH, ROWS_PER_BATCH
from headway.data.sources.streams import COMPRESSIONS, KINDS
from tests.data.sources.writers import PACKERS, WRITERS, pairs_of

# Kinds of files


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_rows_are_read_from_every_kind_of_file(read_file, tmp_path, sentences, name):
    WRITERS[name](sentences, tmp_path / name)
    read = read_file(name)
    assert read.rows == pairs_of(sentences)
    assert read.problems == {}
    assert read.table["row"].to_pylist() == list(range(1, len(sentences) + 1))
    assert read.manifest.source == f"file {name}"
    assert read.manifest.rows == len(sentences)
    assert read.manifest.label_counts == sentences["label"].value_counts().sort_index().to_dict()
    assert read.manifest.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert read.manifest.files[0].size == (tmp_path / name).stat().st_size


@pytest.mark.parametrize("packing", COMPRESSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_compressed_in_two_pieces_gives_the_same_rows(read_file, tmp_path, sentences, kind, packing):
    WRITERS[f"array{kind}" if kind == ".json" else f"reviews{kind}"](sentences, tmp_path / f"plain{kind}")
    plain = (tmp_path / f"plain{kind}").read_bytes()
    pack = PACKERS[packing]
    assert read_file(f"a{kind}{packing}", pack(plain[:5000]) + pack(plain[5000:])).rows == pairs_of(sentences)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts the bytes that Linux says were read")
@pytest.mark.parametrize("name", ["big.csv", "big.jsonl", "big.csv.gz"])
def test_a_source_file_is_read_once(read_file, tmp_path, sentences, name):
    kind = name.removesuffix(".gz")
    WRITERS[f"reviews{Path(kind).suffix}"](pd.concat([sentences] * 40), tmp_path / kind)
    content = (tmp_path / kind).read_bytes()
    (tmp_path / name).write_bytes(PACKERS[".gz"](content) if kind != name else content)
    read_file("warm.csv", "text,label\na,b\nc,d\n")  # what reading imports is not the file's
    before = bytes_read()
    manifest = read_file(name).manifest
    read = (bytes_read() - before) / manifest.files[0].size
    assert 1 <= read < 1.1
    assert manifest.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def bytes_read():
    """Bytes that this process has read from files so far."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["rchar"])


def test_every_supported_kind_of_file_is_tested():
    assert {"." + name.rpartition(".")[2].lower() for name in WRITERS} == set(KINDS)
    assert set(PACKERS) == set(COMPRESSIONS)


def test_files_of_mixed_kinds_in_a_folder_are_read_in_the_order_of_their_names(read_file, tmp_path, sentences):
    (tmp_path / "input").mkdir()
    for number in (3, 7, 1, 0, 9, 4, 8, 2, 6, 5):
        part = sentences[number * 50 : (number + 1) * 50 if number < 9 else None]
        if number % 2:
            part.to_csv(tmp_path / "input" / f"{number}.csv", index=False)
        else:
            part.to_json(tmp_path / "input" / f"{number}.jsonl.gz", orient="records", lines=True)
    (tmp_path / "input" / "README.md").write_text("not data")
    for name in (".hidden.csv", ".DS_Store"):
        (tmp_path / "input" / name).write_text("not,data")
    read = read_file("input")
    assert read.rows == pairs_of(sentences)
    assert read.manifest.source == "file input"
    assert [file.name for file in read.manifest.files][:3] == ["0.jsonl.gz", "1.csv", "2.jsonl.gz"]
    assert read.manifest.ignored_files == ["README.md"]
    assert read.manifest.ignored_data_files == []


def test_globs_choose_files_and_their_roles(read_file, params, tmp_path):
    (tmp_path / "input" / "deep" / "er").mkdir(parents=True)
    for name in ("a-1.csv", "a-test.csv", "b.csv", "deep/a-2.csv", "deep/er/a-3.csv"):
        (tmp_path / "input" / name).write_text(f"text,label\n{name},1\n")
    (tmp_path / "input" / "more.jsonl").write_text('{"text": "no label"}\n{"text": 3}\nnothing\n')
    read = read_file("input", files="a-*.csv")
    assert read.rows == [("a-1.csv", "1"), ("a-test.csv", "1")]
    assert read.manifest.ignored_files == ["b.csv", "deep/a-2.csv", "deep/er/a-3.csv", "more.jsonl"]
    assert read.manifest.ignored_data_files == read.manifest.ignored_files
    roles = {"test_files": "*-test.csv", "unlabelled_files": "*.jsonl"}
    read = read_file("input", files="**/a-*", **roles)
    assert [text for text, _ in read.rows] == ["a-test.csv", "a-1.csv", "deep/a-2.csv", "deep/er/a-3.csv"]
    assert read.table["test"].to_pylist() == [True, False, False, False]
    assert read.table["row"].to_pylist() == [1, 2, 3, 4]
    (unlabelled,) = read.source.unlabelled_batches()
    assert unlabelled.to_pydict() == {
        "row": [1, 2, 3],
        "text": ["no label", "3", "nothing"],
        "problem": ["", "", "not valid JSON: Expecting value: line 1 column 1 (char 0)"],
    }
    assert [text for text, _ in read_file("input", **roles).rows] == ["a-test.csv", "a-1.csv", "b.csv"]
    data = params.override({"data.source": "file", "data.path": "input", "data.files": "**/a-?.csv"}).data
    first, *others = files_to_sample(data, tmp_path, tmp_path / ".scratch", most=2)
    assert (first.file.name, first.file.path) == ("a-1.csv", tmp_path / "input" / "a-1.csv")
    assert [(other.file.name, other.constant) for other in others] == [("deep/a-2.csv", {"folder_name": "deep"})]


def test_unlabelled_texts_in_a_tsv_may_hold_commas(read_file, tmp_path):
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "a.csv").write_text("text,label\nfine,1\n")
    (tmp_path / "input" / "more.tsv").write_text("text\nyes, and no\n")
    (batch,) = read_file("input", unlabelled_files="*.tsv").source.unlabelled_batches()
    assert batch.to_pydict() == {"row": [1], "text": ["yes, and no"], "problem": [""]}


def test_the_hash_of_a_folder_changes_with_any_of_its_files(read_file, tmp_path, sentences):
    (tmp_path / "input").mkdir()
    sentences[:50].to_csv(tmp_path / "input" / "a.csv", index=False)
    before = read_file("input").manifest.sha256
    sentences[50:60].to_csv(tmp_path / "input" / "b.csv", index=False)
    assert read_file("input").manifest.sha256 != before


@pytest.mark.parametrize("separator", list(";,|^"))
def test_the_separator_line_of_excel_is_not_taken_for_the_header(read_file, separator):
    lines = ["sep=" + separator, f"text{separator}label", f"fine{separator}1", f"dull{separator}0"]
    for end in ("\r\n", "\n"):
        read = read_file("a.csv", end.join(lines), encoding="utf-8")
        assert read.rows == [("fine", "1"), ("dull", "0")]
        assert read.manifest.files[0].delimiter == separator


def test_other_columns_and_their_missing_values_are_ignored(read_file):
    read = read_file("a.csv", "id,stars, review ,mood\n,5,fine,good\nx,,dull,bad\n", text="review", label="mood")
    assert read.rows == [("fine", "good"), ("dull", "bad")]


def test_batches_are_bounded_in_rows_and_in_characters(read_file):
    read = read_file("many.csv", "text,label\n" + "fine,1\n" * (ROWS_PER_BATCH + 1))
    assert [len(chunk) for chunk in read.table["text"].chunks] == [ROWS_PER_BATCH, 1]
    long = "long " * (CHARACTERS_PER_BATCH // 15 + 1)
    read = read_file("long.jsonl", (json.dumps({"text": long, "label": 1}) + "\n") * 5)
    assert [len(chunk) for chunk in read.table["text"].chunks] == [3, 2]
    assert read.table["row"].to_pylist() == [1, 2, 3, 4, 5]


# Cells


def test_texts_in_any_script_and_with_line_breaks_are_read_as_written(read_file):
    texts = ["很好看的电影,强烈推荐", "فيلم رائع، أنصح به", 'He said: "no",\nand left.', "Přílišně žluťoučký", "🎬👍🏽"]
    labels = ["好", "جيد", "so so", "ž", "👍"]
    file = pd.DataFrame({"text": texts, "label": labels}).to_csv(index=False)
    assert read_file("scripts.csv", file).rows == list(zip(texts, labels, strict=True))


def test_empty_cells_of_a_csv_are_empty_strings(read_file):
    read = read_file("gaps.csv", "text,label\nfine,1\n,0\ndull,\n\n,\n")
    assert read.rows == [("fine", "1"), ("", "0"), ("dull", ""), ("", "")]
    assert read.manifest.label_counts == {"": 2, "0": 1, "1": 1}


def test_words_such_as_null_and_nan_are_not_missing_values(read_file):
    read = read_file("words.csv", "text,label\nNA,None\nnull,NaN\nN/A,nan\nNone,NULL\n")
    assert read.rows == [("NA", "None"), ("null", "NaN"), ("N/A", "nan"), ("None", "NULL")]


def test_numeric_labels_stay_as_written(read_file):
    read = read_file("numbers.csv", "text,label\n1,007\n2,1\n,12345678901234567890\n4,0.50\n5, 3 \n")
    assert [label for _, label in read.rows] == ["007", "1", "12345678901234567890", "0.50", " 3 "]


@pytest.mark.parametrize("name", ["gaps.jsonl", "gaps.parquet"])
def test_integers_in_a_column_with_missing_values_do_not_become_fractions(read_file, tmp_path, name):
    frame = pd.DataFrame({"text": ["a", "b", None, "d"], "label": [1.0, None, 0.0, 2.5]})
    WRITERS[f"reviews.{name.rpartition('.')[2]}"](frame, tmp_path / name)
    assert read_file(name).rows == [("a", "1"), ("b", None), (None, "0"), ("d", "2.5")]


def test_nan_is_a_missing_value(read_file, tmp_path):
    table = pa.table({"text": [1.5, float("nan")], "label": [float("nan"), 2.0]})
    pq.write_table(table, tmp_path / "nan.parquet")
    assert read_file("nan.parquet").rows == [("1.5", None), (None, "2")]


def test_labels_of_json_and_parquet_are_read_as_written(read_file, tmp_path):
    lines = ['"007"', "1.0", "true", "null", "12345678901234567890", '"None"', "0.5"]
    expected = ["007", "1", "true", None, "12345678901234567890", "None", "0.5"]
    read = read_file("a.jsonl", "".join(f'{{"text": "x", "label": {label}}}\n' for label in lines) + '{"text": "y"}\n')
    assert [label for _, label in read.rows] == [*expected, None]
    pq.write_table(pa.table({"text": ["x", "y"], "label": [True, None]}), tmp_path / "a.parquet")
    assert read_file("a.parquet").rows == [("x", "true"), ("y", None)]


def test_a_key_that_first_occurs_far_down_a_jsonl_is_read(read_file, sentences):
    lines = [json.dumps({"text": text}) for text in sentences["text"]] * 11
    read = read_file("late.jsonl", "\n".join([*lines, json.dumps({"text": "dull", "label": "bad"})]))
    assert len(read.rows) == len(lines) + 1
    assert read.rows[-1] == ("dull", "bad")


def test_elements_of_an_array_may_be_longer_than_a_block(read_file):
    values = [{"label": number, "text": f"{number} [long], " * 200_000} for number in range(3)]
    read = read_file("long.json", json.dumps(values))
    assert read.rows == [(value["text"], str(value["label"])) for value in values]


# Refusals


def test_a_missing_path_is_an_error_that_quotes_it(refusal):
    assert refusal("nowhere/reviews.csv") == (
        "data.path: nowhere/reviews.csv does not exist; give the path of your file, relative to the project's folder"
    )


def test_a_pattern_in_the_path_is_an_error_with_advice(refusal):
    assert "the pattern of its files in data.files" in refusal("input/*.csv")
    assert "the pattern of its files in data.files" in refusal("s3://bucket/*.csv")


def test_an_unknown_kind_of_file_is_an_error_that_lists_the_known_ones(refusal):
    assert "reviews.xlsx is not a known kind of file; expected a name ending in .csv, .tsv" in refusal("reviews.xlsx", b"PK")


def test_a_folder_without_data_is_an_error_with_advice(refusal, tmp_path):
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "README.md").write_text("not data")
    assert "data.path: input holds no data file; put one there, ending in .csv" in refusal("input")


def test_a_pattern_without_a_match_is_an_error_that_names_its_knob(refusal, tmp_path):
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "a.csv").write_text("text,label\na,1\n")
    assert refusal("input", files="b*") == "data.files: no data file in input matches 'b*'; found a.csv"
    assert refusal("input", test_files="b*").startswith("data.test_files: no data file in input matches 'b*'")
    assert refusal("input", test_files="a*").endswith("matches '*'; the other patterns match all files")
    assert refusal("input", files="a**").startswith("data.files: 'a**' is not a valid pattern")
    assert refusal("input/a.csv", unlabelled_files="b*").startswith("data.unlabelled_files: the pattern 'b*' needs a folder")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet"])
def test_a_missing_column_is_an_error_that_names_the_nearest_one(refusal, tmp_path, name):
    WRITERS["array.json" if name == "a.json" else f"reviews.{name.rpartition('.')[2]}"](
        pd.DataFrame({"texts": ["a"], "label": [1]}), tmp_path / name
    )
    assert refusal(name) == f"{name}: has no column 'text' (data.text_column); did you mean texts?"
    assert refusal(name, text="texts", label="y") == f"{name}: has no column 'y' (data.label_column); known: texts, label"


def test_a_column_without_a_name_is_listed_as_such(refusal):
    assert refusal("a.csv", "text,\nfine,1\n").endswith("known: text, (one without a name)")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"", "a.csv: empty; expected rows"),
        ("a.jsonl", b"", "a.jsonl: empty; expected rows"),
        ("a.parquet", b"", "a.parquet: empty; expected rows"),
        ("a.csv", b"\n\n", "a.csv: empty; expected rows"),
        ("a.jsonl", b"\n\n", "a.jsonl: empty; expected rows"),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "a.csv.gz: empty; expected rows"),
        ("a.csv", b"text,text,label\na,b,1\n", "a.csv: has more than one column 'text'"),
        ("a.jsonl", b"PK not json\n", "a.jsonl: holds no JSON object; expected one object per line"),
        ("a.json", b'[{"text": "fine", "label": 1}, {"text": "du', "a.json: cannot be read as json: "),
        ("a.json", b'[{"text": "fine", "label": 1}', "a.json: cannot be read as json: "),
        ("a.json", b'[{"text": "fine", "label": 1}] [', "a.json: cannot be read as json: there is more text after the end"),
        ("a.parquet", b"PAR1 but no table", "a.parquet: cannot be read as parquet: "),
        ("a.csv.gz", b"text,label\na,1\n", "a.csv.gz: cannot be read as csv: "),
        ("a.csv.zst", b"text,label\na,1\n", "a.csv.zst: cannot be read as csv: "),
    ],
)
def test_an_unreadable_file_is_refused_in_one_line_with_its_name(refusal, name, content, says):
    assert refusal(name, content).startswith(says)


@pytest.mark.parametrize("packing", COMPRESSIONS)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_compressed_file_is_refused_with_its_name(refusal, sentences, packing, share):
    whole = PACKERS[packing](sentences.to_csv(index=False).encode())
    message = refusal(f"cut.csv{packing}", whole[: int(len(whole) * share)])
    assert message.startswith(f"cut.csv{packing}: cannot be read as csv: ")
    assert message.endswith("check that the file is complete")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_parquet_is_refused_with_its_name(refusal, tmp_path, sentences, share):
    sentences.to_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    message = refusal("cut.parquet", whole[: int(len(whole) * share)])
    assert message.startswith("cut.parquet: cannot be read as parquet: ")


def test_a_damaged_page_of_a_parquet_is_refused_with_its_name(refusal, tmp_path, sentences):
    sentences.to_parquet(tmp_path / "whole.parquet")
    whole = bytearray((tmp_path / "whole.parquet").read_bytes())
    whole[20:2000] = bytes(1980)
    assert refusal("bad.parquet", bytes(whole)).startswith("bad.parquet: cannot be read as parquet: ")


def test_too_many_different_labels_are_an_error(refusal, monkeypatch):
    monkeypatch.setattr("headway.data.sources.manifest.MOST_LABELS", 100)
    lines = "".join(f"fine,{number}\n" for number in range(101))
    assert refusal("a.csv", "text,label\n" + lines).startswith("data.label_column: more than 100 different labels")
