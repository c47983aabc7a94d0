"""Text files are read by content, files inside zip files like others, and nested or labelled records by their paths."""

import gzip
import io
import json
import zipfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headway.data.sources import archives
from headway.data.sources.nested import flat, value_at
from tests.data.sources.writers import WRITERS, pairs_of

QUESTIONS = ["DESC:manner How does it work ?", "HUM:ind Who wrote it ?", "DESC:def What is it ?", "HUM:ind Who is that ?"]


def zipped(members, **options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


# Text files


@pytest.mark.parametrize(
    "kind", ["reviews.csv", "reviews.tsv", "semicolons.csv", "reviews.jsonl", "array.json", "indented.json"]
)
@pytest.mark.parametrize("name", ["reviews.txt", "reviews", "reviews.train"])
def test_a_text_file_is_read_by_its_content(read_file, tmp_path, sentences, kind, name):
    WRITERS[kind](sentences, tmp_path / "plain")
    assert read_file(name, (tmp_path / "plain").read_bytes()).rows == pairs_of(sentences)


def test_a_compressed_text_file_is_read_by_its_content(read_file, sentences):
    content = gzip.compress(sentences.to_json(orient="records", lines=True).encode())
    assert read_file("reviews.txt.gz", content).rows == pairs_of(sentences)


def test_fasttext_lines_are_read(read_file):
    read = read_file("cooking.txt", "__label__sauce How much : does it matter?\n\n__label__food-safety Is it , safe ?\n")
    assert read.rows == [("How much : does it matter?", "sauce"), ("Is it , safe ?", "food-safety")]


def test_a_fasttext_line_with_several_labels_or_none_is_reported_in_its_place(read_file):
    lines = ["__label__a fine"] * 40 + ["__label__a __label__b both", "neither"]
    read = read_file("a.txt", "\n".join(lines))
    assert list(read.problems) == [41, 42]
    assert "multi-label" in read.problems[41]


def test_trec_lines_are_read_with_the_coarse_and_the_fine_label(read_file):
    read = read_file("train_5500.label", "\n".join(QUESTIONS * 5).encode("latin-1"), label="label", slice_columns=["detail"])
    assert read.rows[:2] == [("How does it work ?", "DESC"), ("Who wrote it ?", "HUM")]
    assert read.table["detail"].to_pylist()[:2] == ["DESC:manner", "HUM:ind"]


def test_a_label_and_a_colon_before_each_text_are_read(read_file):
    read = read_file("a.txt", "ham: see you at 5: or 6\nspam: free money, now\n" * 5)
    assert read.rows[:2] == [("see you at 5: or 6", "ham"), ("free money, now", "spam")]


def test_texts_with_colons_are_no_labelled_lines(read_file, refusal):
    lines = [f"{word}: well, it was" for word in ["Alien", "Brazil", "Casablanca", "Dune", "Eraserhead", "Fargo"]]
    assert "has no column 'text'" in refusal("a.txt", "\n".join(lines))


def test_a_binary_file_without_a_known_ending_is_refused(refusal):
    assert "is not a known kind of file" in refusal("data.bin", b"\x00\x01\x02")


def test_text_files_beside_tables_are_left_alone_unless_a_pattern_names_them(read_file, tmp_path):
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "a.csv").write_text("text,label\nfine,1\n")
    (tmp_path / "input" / "b.txt").write_text("text,label\ndull,0\n")
    assert read_file("input").rows == [("fine", "1")]
    assert read_file("input", files="*.txt").rows == [("dull", "0")]


# Zip files


@pytest.mark.parametrize("kind", ["reviews.csv", "reviews.jsonl", "reviews.parquet"])
def test_the_only_data_file_inside_a_zip_file_is_read(read_file, tmp_path, sentences, kind):
    WRITERS[kind](sentences, tmp_path / kind)
    content = (tmp_path / kind).read_bytes()
    members = {f"deep/er/{kind}": content, "deep/README.md": "no data", "__MACOSX/deep/._reviews.csv": b"\0"}
    read = read_file("reviews.zip", zipped(members))
    assert read.rows == pairs_of(sentences)
    assert [(file.size, file.name) for file in read.manifest.files] == [(len(content), f"er/{kind}")]


def test_several_files_inside_a_zip_file_are_read_in_order_with_their_own_names(read_file):
    rows = {f"all/r-{number}.csv": f"text,label\nrow {number},{number}\nodd\n" for number in (10, 9)}
    read = read_file("r.zip", zipped(rows))
    assert read.rows == [("row 9", "9"), ("odd", None), ("row 10", "10"), ("odd", None)]
    assert [(file.name, file.rows) for file in read.manifest.files] == [("r-9.csv", 2), ("r-10.csv", 2)]


def test_a_zip_file_in_a_folder_is_read_with_the_files_beside_it(read_file, tmp_path):
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "a.csv").write_text("text,label\nfine,1\n")
    (tmp_path / "input" / "b.zip").write_bytes(zipped({"b.csv": "text,label\ndull,0\n"}))
    assert read_file("input", files="**/*").rows == [("fine", "1"), ("dull", "0")]


def test_a_zip_file_is_recognised_by_its_content(read_file):
    assert read_file("download", zipped({"a.csv": "text,label\nfine,1\n"})).rows == [("fine", "1")]


def test_slashes_before_the_name_of_a_file_inside_a_zip_file_mean_nothing(read_file):
    members = {"//a.csv": "text,label\nfine,1\n", "/b.csv": "text,label\ndull,0\n"}
    assert read_file("a.zip", zipped(members)).rows == [("fine", "1"), ("dull", "0")]


def test_a_zip_bomb_is_refused_before_it_is_read(refusal, monkeypatch):
    monkeypatch.setattr(archives, "SMALL", 1_000)
    message = refusal("a.zip", zipped({"a.csv": "text,label\n" + "fine,1\n" * 1_000_000}, compresslevel=9))
    assert message.startswith("a.csv: cannot be read as csv: ")
    assert "zip bomb" in message


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_zip_file_is_refused_with_its_name(refusal, sentences, share):
    whole = zipped({"a.csv": sentences.to_csv(index=False)})
    assert refusal("cut.zip", whole[: int(len(whole) * share)]).startswith("cut.zip: cannot be read as zip: ")


def test_a_damaged_member_of_a_zip_file_is_refused_with_its_name(refusal, sentences):
    whole = bytearray(zipped({"a.csv": sentences.to_csv(index=False)}))
    whole[2000:2100] = bytes(100)
    assert refusal("bad.zip", bytes(whole)).startswith("a.csv: cannot be read as csv: ")


def test_an_encrypted_member_is_refused_with_its_name(refusal):
    whole = bytearray(zipped({"a.csv": "text,label\nfine,1\n"}))
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    assert "it needs a password" in refusal("secret.zip", bytes(whole))


# Nested records


def test_dotted_paths_read_nested_json(read_file):
    records = [
        {"fields": {"text": "fine"}, "annotations": [{"result": [{"value": {"choices": ["good"]}}]}]},
        {"fields": {"text": "dull"}, "annotations": []},
        {"fields": {"text": "so so"}, "annotations": [{"result": [{"value": {"choices": ["good", "bad"]}}]}]},
    ]
    for content in (json.dumps(records), "\n".join(map(json.dumps, records))):
        read = read_file("a.json", content, text="fields.text", label="annotations.result.value.choices")
        assert read.rows[:2] == [("fine", "good"), ("dull", None)]
        assert list(read.problems) == [3]
        assert "multi-label" in read.problems[3]


def test_dotted_paths_read_nested_parquet(read_file, tmp_path):
    pq.write_table(pa.table({"data": [{"text": "fine", "n": 1}, None], "a.b": ["x", "y"]}), tmp_path / "a.parquet")
    assert read_file("a.parquet", text="data.text", label="a.b").rows == [("fine", "x"), (None, "y")]


def test_a_missing_path_is_an_error_that_names_it(refusal):
    message = refusal("a.jsonl", '{"data": {"text": "fine"}, "label": 1}\n', text="data.body")
    assert message.startswith("a.jsonl: has no column 'data.body' (data.text_column)")


def test_every_path_of_a_flat_record_leads_to_its_value():
    record = {"a": 1, "b": {"c": [{"d": "x"}], "e": [1, 2]}, "f.g": "y", "h": []}
    assert flat(record) == {"a": 1, "b.c.d": "x", "b.e": "[1, 2]", "f.g": "y", "h": None}
    assert [value_at(record, name) for name in ("a", "b.c.d", "f.g", "nowhere.x")] == [1, "x", "y", None]


def test_values_that_python_cannot_hold_do_not_matter_in_other_columns(read_file, tmp_path):
    dates = pa.array([2**22, 0], pa.int32()).cast(pa.date32())
    zones = pa.array([0, 1], pa.timestamp("us", "Mars/Olympus"))
    table = pa.table({"text": pa.array(["fine", "dull"], pa.string_view()), "label": [1, 0], "date": dates, "when": zones})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read_file("a.parquet").rows == [("fine", "1"), ("dull", "0")]


# Folders and splits


def test_a_folder_named_like_a_value_gives_a_column(read_file, tmp_path):
    for folder in ("label=good/lang=en", "label=very%20bad/lang=fr"):
        (tmp_path / "input" / folder).mkdir(parents=True)
        (tmp_path / "input" / folder / "a.csv").write_text(f"id,text\n1,{folder}\nodd\n")
    read = read_file("input", files="**/*", slice_columns=["lang"])
    assert [label for _, label in read.rows] == ["good", None, "very bad", None]
    assert read.table["lang"].to_pylist() == ["en", None, "fr", None]
    assert list(read.problems) == [2, 4]


def test_a_split_column_marks_test_rows(read_file):
    frame = pd.DataFrame({"text": list("abcd"), "label": [1, 0, 1, 0], "part": ["train", "Test", "dev", None]})
    for name, content in (("a.csv", frame.to_csv(index=False)), ("a.jsonl", frame.to_json(orient="records", lines=True))):
        read = read_file(name, content, split_column="part")
        assert read.table["test"].to_pylist() == [False, True, False, False]
        assert read.table.column_names == ["row", "text", "label", "test", "problem"]
        both = read_file(name, content, split_column="part", slice_columns=["part"])
        assert both.table["part"].to_pylist()[:2] == ["train", "Test"]


def test_a_missing_split_column_is_an_error(refusal):
    assert "has no column 'part' (data.split_column)" in refusal("a.csv", "text,label\nfine,1\n", split_column="part")


# Names of a CSV's columns


def test_a_csv_without_a_header_is_read_with_names_from_params(read_file):
    content = "1;fine, really;x\n0;dull;y\n"
    names = {"header": False, "columns": ["label", "text", "more"]}
    assert read_file("a.csv", content, **names).rows == [("fine, really", "1"), ("dull", "0")]
    numbered = read_file("a.csv", content, text="column_2", label="column_1", header=False)
    assert numbered.rows == [("fine, really", "1"), ("dull", "0")]


def test_names_from_params_take_the_place_of_the_headers(read_file):
    read = read_file("a.csv", "one,two\nfine,1,\ndull,0,\n", columns=["text", "label", "empty"])
    assert read.rows == [("fine", "1"), ("dull", "0")]


def test_comments_before_the_header_are_skipped_and_a_hash_in_a_text_is_not(read_file):
    read = read_file("a.csv", "# exported 2021\n# by hand\n\ntext,label\n#fine,1\n")
    assert read.rows == [("#fine", "1")]
    assert read_file("b.csv", "#text,label\n#fine,1\n", text="#text").rows == [("#fine", "1")]


@pytest.mark.parametrize("first", ['1,"I liked it, really",good', '1,"I liked it,\nreally",good'])
def test_a_header_that_begins_with_a_hash_is_compared_with_the_cells_below_it(read_file, first):
    read = read_file("a.csv", f"#,text,label\n{first}\n2,dull,bad\n")
    assert [label for _, label in read.rows] == ["good", "bad"]


def test_a_backslash_can_escape_quotes(read_file):
    read = read_file("a.csv", 'text,label\n"say ""hi"", or \\"ho\\"",1\nplain,0\n', quoting="backslash")
    assert read.rows == [('say "hi", or "ho"', "1"), ("plain", "0")]


def test_a_header_repeated_further_down_is_reported_in_its_place(read_file):
    read = read_file("a.csv", "text,label\nfine,1\n text,label \ndull,0\n")
    assert read.problems == {2: "repeats the header"}
