"""``headway init``: the right columns are proposed, and params.yaml is filled in without losing a comment."""

import csv
import json
import re
import subprocess
import sys

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from headway import init
from headway.data.columns import propose
from headway.data.given_path import path_and_pattern
from headway.data.sampling import sample_rows
from headway.data.sources.streams import LocalFile
from headway.errors import HeadwayError
from headway.init.inspection import _seconds_to_train
from headway.params import load
from headway.stages.tokenize import SplitTokens, TokenMetrics
from tests.real_texts import chinese, english, languages, translations

REVIEWS = 600


def write_csv(path, columns, delimiter=",", encoding="utf-8"):
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.fixture
def table():
    """Chinese reviews sorted by label, as people have them: an id, a date, a shop and a comment besides."""
    texts, labels = chinese(REVIEWS)
    size = len(texts)
    return {
        "id": list(range(size)),
        "date": [f"2024-01-{1 + row % 28:02}" for row in range(size)],
        "评论": texts,
        "shop": [f"shop {row % 7}" for row in range(size)],
        "stars": [(1, 5)[label] for label in labels],
        "empty": [""] * size,
    }


@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "semicolon.csv", "gb.csv", "r.jsonl", "r.json", "r.parquet", "r.csv.gz"])
def test_the_columns_are_found_in_files_of_every_kind(tmp_path, table, name):
    path = tmp_path / name
    match name:
        case "r.tsv":
            write_csv(path, table, "\t")
        case "semicolon.csv":
            write_csv(path, table, ";")
        case "gb.csv":
            write_csv(path, table, encoding="gb18030")
        case "r.jsonl":
            rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
            path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
        case "r.json":
            rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
            path.write_text(json.dumps(rows), encoding="utf-8")
        case "r.parquet":
            pq.write_table(pyarrow.table(table), path)
        case _:
            import gzip

            plain = write_csv(tmp_path / "plain.csv", table)
            path.write_bytes(gzip.compress(plain.read_bytes()) if name.endswith("gz") else plain.read_bytes())
    found = sample_rows(LocalFile(path, name), "auto")
    assert list(found) == list(table)
    proposal = propose(found, name)
    assert (proposal.text, proposal.label) == ("评论", "stars")
    assert "shop" in proposal.others


def test_the_sample_covers_a_long_file(tmp_path):
    texts, labels = english(8000)
    path = write_csv(tmp_path / "sorted.csv", {"t": texts, "l": labels})
    found = sample_rows(LocalFile(path, path.name), "auto")
    assert len(found["t"]) == 2000
    assert set(found["l"]) == {"0", "1"}
    assert propose(found, "x").label == "l"


def test_the_sample_has_both_of_two_alternating_labels(tmp_path):
    texts, _ = english(5000)
    path = write_csv(tmp_path / "alternating.csv", {"text": texts, "mood": ["good", "bad"] * 2500})
    found = sample_rows(LocalFile(path, path.name), "auto")
    assert 800 < found["mood"].count("bad") < 1200
    assert propose(found, "x").label == "mood"


def test_a_usual_name_decides_between_similar_columns():
    texts, labels = english(100)
    columns = {
        "kind": [str(label) for label in labels],
        "label": ["a", "b"] * 50,
        "title": [t[:9] for t in texts],
        "words": texts,
    }
    assert propose(columns, "x").label == "label"
    assert propose(columns, "x").text == "words"


def test_a_long_value_that_never_changes_is_not_the_text():
    texts, labels = english(100)
    columns = {
        "notice": ["All rights reserved, and so on, " * 30] * 100,
        "words": texts,
        "label": [str(label) for label in labels],
    }
    assert propose(columns, "x").text == "words"


def test_fifty_language_codes_are_proposed_as_labels():
    rows = [(text, code) for code in languages()[:50] for text in translations(code)[:20]]
    texts, codes = (list(column) for column in zip(*rows, strict=True))
    assert propose({"lang": codes, "msg": texts}, "x").label == "lang"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"n": ["1", "2", "3"], "m": ["4", "5", "6"]}, "no column looks like texts; name it with --text (n, m)"),
        ({"text": ["one", "two", "three"], "id": ["1", "2", "3"]}, "no column looks like labels (2 to 1,000 different"),
        ({"text": ["one", "two", "three"]}, "has one column (text); expected one of texts and one of labels"),
        ({"text": ["a b"] * 9, "n": list("abcabcabc")[:5] + list("wxyz")}, "no column looks like labels"),
    ],
)
def test_without_a_likely_column_the_error_names_the_option(columns, message):
    with pytest.raises(HeadwayError, match=r"^own\.csv: ") as caught:
        propose(columns, "own.csv")
    assert message in str(caught.value)


def test_named_columns_are_used():
    columns = {"a": ["x y", "z w", "u v"], "b": ["long text", "longer text", "longest text"], "c": ["1", "2", "3"]}
    assert propose(columns, "x", text="a", label="c").text == "a"
    assert propose(columns, "x", text="a", label="c").label == "c"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"text": "a", "label": "a"}, "--text and --label both name the column a"),
        ({"label": "moood"}, "--label: own.csv has no column 'moood'; did you mean mood?"),
    ],
)
def test_an_impossible_choice_of_columns_is_one_line(words, message):
    with pytest.raises(HeadwayError) as caught:
        propose({"a": ["x"], "mood": ["y"]}, "own.csv", **words)
    assert message in str(caught.value)


def run(project, *words):
    return subprocess.run(
        [sys.executable, "-m", "headway.cli", "init", *words],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_only_the_proposed_knobs_change_in_params_yaml(project, table):
    write_csv(project.root / "shop reviews.csv", table)
    before = project.params.read_text(encoding="utf-8")
    asked = run(project, "--data", "shop reviews.csv")
    assert asked.returncode == 2
    assert asked.stderr.strip() == (
        "headway: params.yaml is unchanged: not a terminal, so cannot ask for confirmation; pass --yes to write"
    )
    assert project.params.read_text(encoding="utf-8") == before
    done = run(project, "--data", "shop reviews.csv", "--yes")
    assert done.returncode == 0, done.stderr
    for said in ("评论", "stars", "shop", f"{REVIEWS:,}", "Han", "unigram", "leakage", "for search and training"):
        assert said in done.stdout
    params = load(project.params)
    assert (params.data.source, params.data.path) == ("file", "shop reviews.csv")
    assert (params.data.text_column, params.data.label_column) == ("评论", "stars")
    assert params.registry.model_name == "shop-reviews"
    assert re.fullmatch("p[0-9a-f]{8}", params.registry.project_id)
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), project.params.read_text(encoding="utf-8").splitlines(), strict=True)
        if old != new
    ]
    assert len(changed) == 6  # source, path, both columns, the name of the model and the identity of the project
    assert all(("#" in old) == ("#" in new) for old, new in changed)
    assert not project.raw.exists()
    assert not (project.scratch / "init" / "data").exists()
    assert (project.scratch / "init" / "reports" / "data.html").is_file()


def test_a_folder_with_test_and_unlabelled_files_is_used_as_it_is(project, table):
    folder = project.root / "corpus"
    folder.mkdir()
    rows = list(zip(*table.values(), strict=True))
    for name, part in (("train.csv", rows[::2]), ("test.csv", rows[1::4]), ("more.csv", rows[3::4])):
        write_csv(folder / name, dict(zip(table, map(list, zip(*part, strict=True)), strict=True)))
    found = init.survey(
        project, str(folder), test_files="test.csv", unlabelled_files="more.csv", report_progress=lambda _: None
    )
    assert found.changes["data.test_files"] == "test.csv"
    assert found.changes["data.unlabelled_files"] == "more.csv"
    assert found.profile.splits["test"] == pytest.approx(REVIEWS / 4, rel=0.1)
    assert found.profile.unlabelled_rows == pytest.approx(REVIEWS / 4, rel=0.1)


def test_warnings_are_printed_before_anything_is_written(project, table, capsys):
    table["stars"] = [f"{label}".upper() if row % 40 == 0 else label for row, label in enumerate(["good", "bad"] * 300)]
    write_csv(project.root / "own.csv", table)
    init.show(init.survey(project, str(project.root / "own.csv")))
    printed = capsys.readouterr().out
    assert printed.startswith("own.csv: texts from column 评论, labels from stars")
    assert "! " in printed
    assert "GOOD" in printed


def test_the_estimated_time_grows_with_the_number_of_trials(params):
    splits = {"train": SplitTokens(5_000, 10**6, median_length=200.0), "validation": SplitTokens(500, 10**5)}
    tokens = TokenMetrics("word", 1000, {}, 0.0, None, splits)
    shares = {"tune.train_share": 0.5, "tune.max_epochs": 1, "training.max_epochs": 2, "tune.timeout_minutes": 1e6}
    few, many = (_seconds_to_train(params.override({**shares, "tune.trials": trials}), tokens, 2) for trials in (1, 1000))
    # Noisy as the measurement is: 2.5 epochs against 502.
    assert many > 20 * few > 0


def test_a_missing_file_is_one_line(project):
    done = run(project, "--data", "nowhere.csv", "--yes")
    assert done.returncode == 2
    assert done.stderr.startswith("headway: data.path: ")
    assert "nowhere.csv does not exist" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_knobs_are_shown_as_they_are_written():
    changes = {"data.columns": ["label", "text"], "data.header": False, "data.path": "own.csv"}
    assert init.as_yaml(changes) == "data.columns: [label, text]\ndata.header: false\ndata.path: own.csv\n"


def test_a_project_that_cannot_be_written_to_is_refused_before_reading(project, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("headway.preflight.tempfile.TemporaryFile", refuse)
    with pytest.raises(HeadwayError, match="cannot be written to"):
        quietly(project, "nowhere.csv")


@pytest.mark.parametrize(
    ("given", "path", "files"),
    [
        ("/a/b.csv", "/a/b.csv", "*"),
        ("/a/2024-*/r?.csv", "/a", "2024-*/r?.csv"),
        ("s3://bucket/r.csv", "s3://bucket/r.csv", "*"),
        ("s3://bucket/all/*.csv", "s3://bucket/all", "*.csv"),
        ("https://example.org/r.csv?download=1", "https://example.org/r.csv?download=1", "*"),
        ("/a/b/", "/a/b", "*"),
        ("file:///a/my%20files/b.csv", "/a/my files/b.csv", "*"),
        ("file:///a/*.csv", "/a", "*.csv"),
    ],
)
def test_a_glob_is_split_into_folder_and_pattern(given, path, files):
    assert path_and_pattern(given) == (path, files)


def test_a_home_of_nobody_is_a_path_like_any_other(project):
    assert path_and_pattern("~nosuchuser-at-all/r.csv")[0].endswith("/~nosuchuser-at-all/r.csv")
    with pytest.raises(HeadwayError, match="does not exist"):
        quietly(project, "~nosuchuser-at-all/r.csv")


def test_a_url_that_is_none_is_refused(project):
    with pytest.raises(HeadwayError, match=r"^--data: file://\[x/a\.csv: "):
        quietly(project, "file://[x/a.csv")


def quietly(project, data, **words):
    return init.survey(project, str(data), report_progress=lambda _: None, **words)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (
            "hf://datasets/a/b.csv",
            "DVC does not notice changes of hf:// files; download the file and pass its path, or a URL",
        ),
        ("memory://b.csv", "DVC does not notice changes of memory:// files"),
        ("webdav://somewhere/b.csv", "webdav:// needs one more package; run `pip install dvc-webdav`, and try again"),
    ],
)
def test_a_url_that_dvc_cannot_track_is_refused_before_reading(project, url, says):
    with pytest.raises(HeadwayError, match=f"^--data: {url}: ") as caught:
        quietly(project, url)
    assert says in str(caught.value)


def test_a_file_url_is_treated_as_a_path(project, table):
    path = write_csv(project.root / "own.csv", table)
    assert quietly(project, path.as_uri()).changes["data.path"] == "own.csv"


@pytest.mark.parametrize("columns", [["text", "label"], ["label", "text"]])
def test_a_file_without_a_header_is_refused_with_advice(project, columns):
    texts, labels = english(200)
    table = {"text": texts, "label": [("good", "bad")[label] for label in labels]}
    path = project.root / "own.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(zip(*(table[name] for name in columns), strict=True))
    with pytest.raises(
        HeadwayError, match=r"^own\.csv: the first line looks like a row, not a header: its value 'bad' occurs"
    ) as raised:
        quietly(project, path)
    advice = f"if it is a row, add --no-header --columns {','.join(columns)}; if it names the columns, add --header"
    assert str(raised.value).endswith(advice)
    found = quietly(project, path, header=False, columns=columns)
    assert (found.changes["data.header"], found.changes["data.columns"]) == (False, columns)
    assert found.profile.rows_in == 200


def test_a_repeated_header_is_not_taken_for_a_missing_one(project, table):
    rows = write_csv(project.root / "own.csv", table).read_text()
    (project.root / "own.csv").write_text(rows + rows.splitlines()[0] + "\n")
    assert quietly(project, project.root / "own.csv").proposal.label == "stars"


def test_a_column_without_a_name_is_reported_by_its_position():
    texts, labels = english(40)
    with pytest.raises(HeadwayError, match=r"column 2 has no name: give it one in the file's first line$"):
        propose({"text": texts, "": [str(label) for label in labels], "id": [str(n) for n in range(40)]}, "own.csv")


@pytest.mark.parametrize("apart", [False, True])
def test_test_and_unlabelled_files_can_be_given_as_paths(project, table, apart):
    folder = project.root / "corpus"
    rows = list(zip(*table.values(), strict=True))
    names = {"train.csv": rows[::2], "more/test [1].csv" if apart else "test [1].csv": rows[1::4], "u.csv": rows[3::4]}
    (folder / "more").mkdir(parents=True)
    for name, part in names.items():
        write_csv(folder / name, dict(zip(table, map(list, zip(*part, strict=True)), strict=True)))
    paths = [str(folder / name) for name in names]
    found = quietly(project, paths[0], test_files=paths[1], unlabelled_files=paths[2])
    assert (found.changes["data.path"], found.changes["data.files"]) == ("corpus", "train.csv")
    assert found.profile.splits["test"] == pytest.approx(REVIEWS / 4, rel=0.1)
    assert found.profile.unlabelled_rows == pytest.approx(REVIEWS / 4, rel=0.1)
    assert found.changes["registry.model_name"] == "train"


def test_a_test_file_in_the_projects_root_is_refused_with_advice(project, table, monkeypatch):
    monkeypatch.chdir(project.root)
    for name in ("train.csv", "test.csv"):
        write_csv(project.root / name, table)
    with pytest.raises(HeadwayError, match=r"move them into a folder of their own, such as data/input"):
        quietly(project, "train.csv", test_files="test.csv")


def test_encoding_and_delimiter_are_shown(project, capsys):
    texts = [text for text in translations("ru") if len(text) > 10]
    rows = {"text": texts, "label": [("a", "b")[number % 2] for number in range(len(texts))]}
    path = write_csv(project.root / "own.csv", rows, delimiter=";", encoding="cp1251")
    init.show(quietly(project, path))
    printed = capsys.readouterr().out
    assert "cp1251 (guessed), delimiter semicolon" in printed
    assert "! The encoding was guessed: cp1251 for own.csv." in printed


@pytest.fixture
def messy(project):
    """English sentences. One class has four spellings, of which the third has a Cyrillic letter; the other has one."""
    texts, labels = english(300)
    ways = ["good", "Good ", "g\u043eod", "GOOD", "good"]
    named = [ways[row % 5] if label else "bad: 'x' #1, {no}" for row, label in enumerate(labels)]
    write_csv(project.root / "own.csv", {"text": texts, "label": named})
    return project


def test_a_map_is_proposed_for_labels_that_look_alike_and_is_written(messy, capsys):
    found = quietly(messy, messy.root / "own.csv")
    label_map = found.changes["data.label_map"]
    assert label_map == {"Good": "good", "g\u043eod": "good", "GOOD": "good"}
    assert [entry.label for entry in found.profile.classes] == ["bad: 'x' #1, {no}", "good"]
    init.show(found)
    assert "Good (" in capsys.readouterr().out
    init.write(messy, found.changes)
    assert load(messy.params).data.label_map == label_map


def test_entries_of_a_map_are_kept_if_the_data_have_their_labels(messy):
    own = {"bad: 'x' #1, {no}": "poor", "Good": "Good", "other": ""}
    init.write(messy, {"data.label_map": own})
    assert load(messy.params).data.label_map == own
    found = quietly(messy, messy.root / "own.csv", label="label")
    assert found.changes["data.label_map"] == {
        "bad: 'x' #1, {no}": "poor",
        "Good": "Good",
        "g\u043eod": "good",
        "GOOD": "good",
    }
    assert found.profile.label_map_unused == {}


def test_labels_that_no_longer_look_alike_reset_the_map(project, table):
    init.write(project, {"data.label_map": {"Positive": "positive"}})
    path = write_csv(project.root / "own.csv", table)
    assert quietly(project, path).changes["data.label_map"] == {}


@pytest.mark.parametrize("label", [None, "rating"])
def test_a_score_is_refused_with_how_to_make_classes_of_it(project, label):
    texts, _ = english(400)
    path = write_csv(project.root / "own.csv", {"text": texts, "rating": [str(1 + len(text) % 17 / 4) for text in texts]})
    with pytest.raises(
        HeadwayError, match=r"^own\.csv: the label column 'rating' looks like a score: 17 different"
    ) as raised:
        quietly(project, path, label=label)
    assert "pd.cut" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_stars_from_one_to_five_are_classes(project):
    texts, _ = english(400)
    path = write_csv(project.root / "own.csv", {"text": texts, "rating": [str(1 + len(text) % 5) for text in texts]})
    assert len(quietly(project, path).profile.classes) == 5


def test_a_tie_between_labels_is_refused_with_yes_unless_one_is_named(project):
    texts, labels = english(200)
    names = [("bad", "good")[label] for label in labels]
    flipped = [name if row % 20 else "bad" for row, name in enumerate(names)]
    path = write_csv(project.root / "own.csv", {"text": texts, "mood": names, "feeling": flipped})
    with pytest.raises(HeadwayError, match=r"^own\.csv: .* choose with --label$") as caught:
        quietly(project, path, require_clear=True)
    assert "mood" in str(caught.value)
    assert quietly(project, path, require_clear=True, label="feeling").proposal.label == "feeling"
