"""``init`` chooses knobs with which ingest reads every row, or says in one line why it cannot."""

import csv
import io
import os
import zipfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, assume, example, given, settings

from headway.data.sources.files import open_files
from headway.errors import HeadwayError
from headway.init.location import locate
from headway.init.reading import choose_reading
from headway.params import load
from tests.data.conftest import read_all
from tests.init.public_tables import TOPICS, Maker, as_csv
from tests.real_texts import english

CASES = Path(__file__).parent / "cases"


@pytest.fixture
def read(project):
    """The reading that init chooses for a path, and what ingest then reads with it."""

    def reader(path, **options):
        params = load(project.params)
        found = choose_reading(params, locate(project, str(path), "", ""), project, **options)
        chosen = params.override({f"data.{knob}": value for knob, value in found.knobs.items()})
        return found, read_all(open_files(chosen.data, project.root, project.scratch))

    return reader


def refusal(read, path, **options):
    with pytest.raises(HeadwayError) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The cases: situations from public reports


@pytest.mark.parametrize(
    ("name", "text", "label", "rows"),
    [
        ("m01_uuid_taken_for_text.csv", "utterance", "intent", 40),
        ("m01c_date_taken_for_text.csv", "q", "intent", 40),
        ("m02_split_taken_for_label.csv", "text", "emotion", 40),
        ("m02b_star_rating.csv", "Review Text", "Star Rating", 40),
        ("m03_unique_words_traceback.csv", "name", "gender", 40),
        ("m04_header_named_as_label.csv", "message", "spam", 8),
        ("m05d_array.jsonl", "text", "label", 40),
        ("m05f_comment_line.csv", "text", "label", 40),
        ("m07_brackets[1].csv", "text", "label", 40),
        ("m08_date_10000.parquet", "text", "label", 40),
        ("m09_list_label.jsonl", "text", "label", 40),
        ("m10_surrogate_key.jsonl", "te\ufffdxt", "label", 40),
        ("m11_spark_backslash.csv", "text", "label", 40),
    ],
)
def test_a_case_is_read_whole_with_its_right_columns(read, name, text, label, rows):
    found, reading = read(CASES / name)
    assert (found.proposal.text, found.proposal.label, found.proposal.unclear) == (text, label, "")
    assert reading.problems == {}
    assert len(reading.rows) == rows
    assert all(row_text and row_label for row_text, row_label in reading.rows)


def test_a_split_column_marks_the_test_split_if_it_leaves_enough_rows(read, project):
    found, _ = read(CASES / "m02_split_taken_for_label.csv")
    assert (found.proposal.split, found.knobs["split_column"]) == ("split", "")
    texts, labels = english(200)
    parts = ["test" if row % 4 == 0 else "train" for row in range(200)]
    (project.root / "own.csv").write_bytes(as_csv({"text": texts, "emotion": labels, "split": parts}))
    found, reading = read(project.root / "own.csv")
    assert found.knobs["split_column"] == "split"
    assert reading.table["test"].to_pylist() == [part == "test" for part in parts]


def test_escaped_quotes_are_read_without_their_backslashes(read):
    _, reading = read(CASES / "m11_spark_backslash.csv")
    assert reading.rows[0] == ('say "please help when phone open", ok', "a")


def test_a_repeated_header_is_quarantined(read):
    _, reading = read(CASES / "m06_repeated_header.csv")
    assert list(reading.problems.values()) == ["repeats the header"]
    assert set(reading.manifest.label_counts) == {"a", "b"}


@pytest.mark.parametrize("name", ["m05_trailing_comma.csv", "m05c_ag_news_after_advice.csv"])
def test_rows_wider_than_the_header_are_counted_with_an_advice_that_works(read, name):
    message = refusal(read, CASES / name)
    assert message.startswith(f"{name}: 40 rows have 3 cells where the header has 2 (text, label); ")
    assert "--columns text,label,column_3" in message
    _, reading = read(CASES / name, columns=["one", "two", "three"])
    assert reading.problems == {}
    assert len(reading.rows) == 40


def test_a_file_without_a_header_and_with_a_rare_first_label_is_refused_with_an_advice_that_works(read):
    name = "m14_headerless_rare_first.csv"
    assert "add --no-header --columns text,label" in refusal(read, CASES / name)
    _, reading = read(CASES / name, header=False)
    assert reading.rows[0] == ("first text is lost", "rare")
    assert len(reading.rows) == 41
    _, insisted = read(CASES / name, header=True)
    assert len(insisted.rows) == 40


def test_what_pandas_writes_by_column_is_refused_with_the_way_to_write_it(read):
    assert "orient='records'" in refusal(read, CASES / "m09b_pandas_to_json.json")


# Headers


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (["topic", "sentence"], "label,text"),
        (["index", "title", "sentence"], "label,column_2,text"),
        (["topic", "serial", "date", "query", "person", "sentence"], "label,column_2,column_3,column_4,column_5,text"),
    ],
)
def test_the_advice_for_a_headerless_file_has_as_many_names_as_columns(read, project, columns, names):
    maker = Maker("headerless")
    texts, topics = maker.topics(12)
    every = {
        "topic": topics,
        "index": [list(TOPICS).index(topic) + 1 for topic in topics],
        "sentence": texts,
        "title": [maker.sentence(topic, 4) for topic in topics],
        "serial": maker.serial(1_467_810_369),
        "date": maker.date("%a %b %d %H:%M:%S PDT %Y"),
        "query": ["NO_QUERY"] * maker.rows,
        "person": maker.person(),
    }
    path = project.root / "own.csv"
    path.write_bytes(as_csv({name: every[name] for name in columns}, header=False, quoting=csv.QUOTE_ALL))
    assert f"--no-header --columns {names};" in refusal(read, path)
    found, reading = read(path, header=False, columns=names.split(","))
    assert reading.rows == list(zip(texts, map(str, every[columns[0]]), strict=True))
    assert found.knobs["columns"] == names.split(",")


@pytest.mark.parametrize("first", ["No comment", "great text", "Bad review!", "Love this product"])
def test_a_first_text_with_a_usual_word_of_names_is_no_header(read, project, first):
    texts, labels = english(60)
    rows = [(first, "good"), *((text, ("good", "bad")[label]) for text, label in zip(texts, labels, strict=True))]
    with (project.root / "own.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert "its value 'good' occurs" in refusal(read, project.root / "own.csv")


def test_long_questions_as_names_are_a_header(read, project):
    texts, labels = english(60)
    columns = {"How satisfied are you with the service that you received?": texts, "Category": labels}
    (project.root / "form.csv").write_bytes(as_csv(columns))
    found, _ = read(project.root / "form.csv")
    assert found.proposal.label == "Category"


def test_a_header_in_hindi_is_a_header(read, project):
    texts = [f"यह फ़िल्म बहुत अच्छी लगी क्योंकि कहानी संख्या {number} सच्ची थी" for number in range(60)]
    table = {"ग्राहक टिप्पणी": texts, "उत्पाद श्रेणी": ["पुस्तक", "फ़िल्म"] * 30}
    (project.root / "own.csv").write_bytes(as_csv(table))
    found, reading = read(project.root / "own.csv")
    assert (found.proposal.text, found.proposal.label) == ("ग्राहक टिप्पणी", "उत्पाद श्रेणी")
    assert len(reading.rows) == 60


def test_a_header_alone_is_said_to_hold_no_rows(read, project):
    (project.root / "own.csv").write_text("text,label\n")
    assert refusal(read, project.root / "own.csv").startswith("own.csv: holds a header and no rows")


def test_lines_before_the_header_are_named(read, project):
    (project.root / "own.csv").write_text("Export of the shop\n\ntext;label\n" + "it was fine;good\n" * 30)
    assert refusal(read, project.root / "own.csv").endswith("remove the lines before the header")


def test_quotes_that_are_ordinary_characters_are_recognised(read, project):
    texts, labels = english(100)
    lines = [f'"{text.split()[0]}" {text}\t{label}' for text, label in zip(texts, labels, strict=True)]
    (project.root / "own.tsv").write_text("\n".join(["text\tlabel", *lines]))
    found, reading = read(project.root / "own.tsv")
    assert found.knobs["quoting"] == "none"
    assert [f"{text}\t{label}" for text, label in reading.rows] == lines


def test_the_quoting_of_an_earlier_file_is_not_kept(project):
    texts, labels = english(100)
    (project.root / "own.csv").write_bytes(as_csv({"text": [f'so, "{text}"' for text in texts], "label": labels}))
    params = load(project.params).override({"data.quoting": "none"})
    found = choose_reading(params, locate(project, str(project.root / "own.csv"), "", ""), project)
    assert found.knobs["quoting"] == "auto"


@pytest.mark.parametrize("columns", [["a", "a", "b"], ["a", "", "b"]])
def test_names_of_columns_that_are_empty_or_occur_twice_are_refused(read, project, columns):
    (project.root / "own.csv").write_text("1,it was fine,good\n" * 30)
    assert refusal(read, project.root / "own.csv", columns=columns).startswith("--columns: ")


@pytest.mark.parametrize(
    ("option", "words"), [("--columns", {"columns": ["one", "two"]}), ("--no-header", {"header": False})]
)
@pytest.mark.parametrize("name", ["m05d_array.jsonl", "m08_date_10000.parquet"])
def test_the_columns_of_another_kind_of_file_than_csv_cannot_be_named(read, name, option, words):
    assert refusal(read, CASES / name, **words).startswith(f"{option}: {name} is not a CSV file")


def test_too_few_names_for_a_file_with_a_good_header_are_refused_with_all_of_them(read, project):
    (project.root / "own.tsv").write_text("id\ttext\tlabel\n" + "1\tit was fine\tgood\n" * 30)
    assert refusal(read, project.root / "own.tsv", columns=["text", "label"]) == (
        "own.tsv: 30 rows have 3 cells and --columns names 2 (text, label); leave out --columns, or name all: id,text,label"
    )


def test_a_slice_column_may_have_the_name_of_another_knobs_value(project):
    texts, labels = english(100)
    shops = ["north", "south"] * 50
    (project.root / "own.csv").write_bytes(as_csv({"text": texts, "label": labels, "file": shops}))
    params = load(project.params).override({"data.slice_columns": ["file"]})
    found = choose_reading(params, locate(project, str(project.root / "own.csv"), "", ""), project)
    assert found.knobs["slice_columns"] == ["file"]


def test_a_path_that_cannot_be_looked_up_is_one_line(read, project):
    (project.root / "secret").mkdir()
    (project.root / "secret").chmod(0)
    paths = [project.root / ("x" * 300)]
    if os.geteuid():  # root may read every folder
        paths.append(project.root / "secret" / "own.csv")
    for path in paths:
        assert "cannot be looked up: " in refusal(read, path)


# Zip files and folders


def test_a_file_inside_a_zip_file_can_be_named(read, project):
    texts, labels = english(100)
    with zipfile.ZipFile(project.root / "all.zip", "w") as archive:
        archive.writestr("data/train.csv", as_csv({"text": texts, "label": labels}))
        archive.writestr("data/submission.csv", "id,label\n1,0\n2,1\n")
    message = refusal(read, project.root / "all.zip")
    assert message.startswith("submission.csv: has the columns id, label, and train.csv has text, label; ")
    found, reading = read(project.root / "all.zip" / "train.csv")
    assert (found.knobs["path"], found.knobs["files"]) == (str(project.root / "all.zip"), "train.csv")
    assert len(reading.rows) == 100


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("hive", [False, True])
def test_tables_in_folders_named_after_their_class_get_it_as_label(read, project, hive, zipped):
    texts, labels = english(100)
    folder = project.root / "corpus"
    for name in ("neg", "pos"):
        inner = folder / (f"label={name}" if hive else name)
        inner.mkdir(parents=True)
        mine = [text for text, label in zip(texts, labels, strict=True) if label == (name == "pos")]
        (inner / "part-0.csv").write_bytes(as_csv({"text": mine, "length": list(map(len, mine))}))
    found, reading = read(pack(folder) if zipped else folder)
    assert found.proposal.label == ("label" if hive else "folder_name")
    assert sorted(reading.rows) == sorted((text, ("neg", "pos")[label]) for text, label in zip(texts, labels, strict=True))


@pytest.mark.parametrize("zipped", [False, True])
def test_documents_in_folders_named_after_their_class_are_one_text_each(read, project, zipped):
    texts, labels = english(60)
    folder = project.root / "corpus"
    for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
        (folder / ("neg", "pos")[label]).mkdir(parents=True, exist_ok=True)
        (folder / ("neg", "pos")[label] / f"{number}.txt").write_text(f"{text}\n\n, and more\n")
    (folder / "README.txt").write_text("Reviews by class")
    found, reading = read(pack(folder) if zipped else folder)
    assert (found.proposal.text, found.proposal.label, found.knobs["txt_files"]) == ("text", "folder_name", "document")
    expected = [(f"{text}\n\n, and more\n", ("neg", "pos")[label]) for text, label in zip(texts, labels, strict=True)]
    assert sorted(reading.rows) == sorted(expected)
    assert {file.rows for file in reading.manifest.files} == {1}


def test_the_files_of_a_folder_are_sampled_together_since_each_may_have_one_label(read, project):
    texts, _ = english(100)
    folder = project.root / "corpus"
    folder.mkdir()
    for number, name in enumerate(("bad", "good")):
        (folder / f"{name}.csv").write_bytes(as_csv({"text": texts[number::2], "mood": [name] * 50}))
    found, reading = read(folder)
    assert found.proposal.label == "mood"
    assert len(reading.rows) == 100


def pack(folder):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, f"corpus/{file.relative_to(folder).as_posix()}")
        archive.writestr("__MACOSX/corpus/._a.csv", b"\0\0")
    return path


# Whatever init accepts, ingest reads

ODD_WORDS = ["good", "bad", '"odd"', "it,", "is;", "so", "|", "much", "fun,", "5", "stars"]
WORDS = st.lists(st.sampled_from(ODD_WORDS), min_size=3, max_size=8).map(" ".join)


SHORT = [("good good stars", "spam"), *[(f"good {'good ' * count}", "spam") for count in range(1, 11)], ("bad it is", "ham")]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(rows=SHORT, delimiter=",", quoting=csv.QUOTE_MINIMAL, header=False, told=False, bom=False, place=0)
@given(
    rows=st.lists(st.tuples(WORDS, st.sampled_from(["spam", "ham"])), min_size=12, max_size=40),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    header=st.booleans(),
    told=st.booleans(),
    bom=st.booleans(),
    place=st.integers(0, 2),
)
def test_every_row_of_a_table_that_init_accepts_is_read(read, project, rows, delimiter, quoting, header, told, bom, place):
    assume({label for _, label in rows} == {"spam", "ham"} and len(set(rows)) >= 6)
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    names = ["body", "number"]
    names.insert(place, "label")
    if header:
        writer.writerow(names)
    for number, (text, label) in enumerate(rows):
        cells = [text, str(number)]
        cells.insert(place, label)
        writer.writerow(cells)
    path = project.root / "own.csv"
    path.write_text(out.getvalue(), encoding="utf-8-sig" if bom else "utf-8", newline="")
    if told:
        _, reading = read(path, header=header, columns=[] if header else names)
    else:
        try:
            _, reading = read(path)
        except HeadwayError:
            return
    assert reading.problems == {}
    assert reading.rows == rows
