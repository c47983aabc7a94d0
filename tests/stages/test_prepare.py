"""Stage prepare on real texts in many languages, with the errors that real files have."""

import csv
import json
import os
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from headway import cli
from headway.data.identity import normal_form
from headway.data.preparation import writing
from headway.data.text.splits import SPLITS
from headway.errors import HeadwayError
from headway.files import read_json
from headway.stages.prepare import prepare
from tests.folders import sha256_of_folder
from tests.real_texts import chinese, languages, translations

LOOSE = {"split.train": 0.6, "split.validation": 0.2, "split.test": 0.2, "data.max_rows": 0}


def put(layout, rows, unlabelled=None):
    """Leave rows as ingest does: (text, label), (text, label, from a test file) or (text, label, False, problem)."""
    layout.raw.mkdir(parents=True, exist_ok=True)
    texts, labels, tests, problems = zip(*[(*row, *(False, "")[len(row) - 2 :]) for row in rows], strict=True)
    columns = {
        "row": pa.array(range(1, len(rows) + 1), pa.int64()),
        "text": pa.array(texts, pa.large_string()),
        "label": pa.array(labels, pa.string()),
        "test": pa.array(tests, pa.bool_()),
        "problem": pa.array(problems, pa.string()),
    }
    pq.write_table(pa.table(columns), layout.raw / "rows.parquet")
    if unlabelled is not None:
        none = {
            "row": pa.array(range(1, len(unlabelled) + 1), pa.int64()),
            "text": pa.array(unlabelled, pa.large_string()),
            "problem": pa.array([""] * len(unlabelled), pa.string()),
        }
        pq.write_table(pa.table(none), layout.raw / "unlabelled.parquet")
    sizes = [("test.csv", sum(tests)), ("own.csv", len(rows) - sum(tests)), ("more.csv", len(unlabelled or []))]
    facts = {
        "encoding": "utf-8",
        "encoding_guessed": False,
        "delimiter": ",",
        "columns": ["text", "label"],
        "unterminated_label": None,
    }
    manifest = {
        "source": "file own",
        "version": "",
        "files": [{"name": name, "rows": size, **facts} for name, size in sizes if size],
        "rows": len(rows),
        "unlabelled_rows": len(unlabelled or []),
        "label_counts": Counter(label or "" for label in labels),
        "columns_that_differ": {},
        "ignored_data_files": [],
    }
    (layout.raw / "manifest.json").write_text(json.dumps(manifest))


def splits_of(layout):
    """Text to split."""
    return {text: name for name in SPLITS for text in pq.read_table(layout.prepared / f"{name}.parquet")["text"].to_pylist()}


def quarantined(layout):
    with (layout.prepared / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def knobs(params):
    return params.override(LOOSE)


@pytest.fixture
def english(ingested):
    """Real sentences with their labels; the source has them sorted by label, here they are mixed."""
    table = pq.read_table(ingested.layout.raw / "rows.parquet")
    rows = list(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True))
    return [rows[index] for index in np.random.default_rng(0).permutation(len(rows))]


def test_bad_rows_are_quarantined_with_their_number_reason_and_text(knobs, project, english):
    good = english[:200]
    good[7] = (good[7][0], f" {good[7][1]}\u00a0")
    bad = [
        (None, "positive"),
        ("<br />", "positive"),
        ("no label", None),
        ("no label either", " "),
        ("x" * 2_000_001, "positive"),
        ('a,"torn line', None, False, "a quote is opened and never closed"),
        (good[0][0], good[0][1]),
        (good[1][0], "other than before"),
    ]
    put(project, good + bad)
    result = prepare(knobs, project)
    listed = quarantined(project)
    assert [(int(row["row"]), row["reason"]) for row in listed] == [
        (2, "conflicting labels"),
        (201, "missing text"),
        (202, "missing text"),
        (203, "missing label"),
        (204, "missing label"),
        (205, "too long"),
        (206, "unreadable: a quote is opened and never closed"),
        (207, "duplicate of row 1"),
        (208, "conflicting labels"),
    ]
    assert listed[6]["text"] == 'a,"torn line'
    assert len(listed[5]["text"]) < 500
    assert result.rows_in == 208
    assert result.rows_kept == 199 == sum(result.splits.values())
    assert {reason: count for reason, count in result.rows_quarantined.items() if count} == {
        "unreadable": 1,
        "missing text": 2,
        "missing label": 2,
        "too long": 1,
        "conflicting labels": 2,
        "duplicate": 1,
    }
    assert result.bad_share == pytest.approx(8 / 208, abs=1e-6)
    assert splits_of(project).keys() == {text for text, _ in good} - {good[1][0]}


def test_too_many_bad_rows_are_an_error_with_counts_and_a_list_and_leave_the_old_data(own_reviews):
    layout = own_reviews.layout
    before = sha256_of_folder(layout.prepared)
    put(layout, [("fine film", "good"), ("dull film", "bad")] * 40 + [("", "bad")] * 15 + [("text", None)] * 5)
    with pytest.raises(
        HeadwayError, match=r"^20\.0% of the 100 rows cannot be used, more than data\.max_bad_share"
    ) as caught:
        prepare(own_reviews.params.override({"data.max_bad_share": 0.19}), layout)
    listed = os.path.relpath(layout.scratch / "quarantine.csv")
    assert f"missing text 15, missing label 5; {listed} lists them" in str(caught.value)
    with (layout.scratch / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        assert Counter(row["reason"] for row in csv.DictReader(file))["missing text"] == 15
    assert sha256_of_folder(layout.prepared) == before


def test_many_rows_with_quoting_problems_are_an_error_that_names_the_knob(knobs, project, english):
    put(project, [*english[:40], *[('"Great" film', None, False, "text follows a closing quote")] * 20])
    with pytest.raises(HeadwayError, match=r"set data\.quoting to none$"):
        prepare(knobs, project)


def test_labels_that_look_the_same_are_one_class_and_reported(knobs, project, english):
    ways = {"positive": ["1", "1.0", "1\u200b", "\ufeff1 "], "negative": ["0", "0.00"]}
    put(project, [(text, ways[label][number % len(ways[label])]) for number, (text, label) in enumerate(english[:200])])
    result = prepare(knobs, project)
    assert [entry.label for entry in result.classes] == ["0", "1"]
    assert result.label_spellings == {"0": ["0", "0.00"], "1": ["1", "1.0", "1\u200b", "\ufeff1"]}


def test_labels_are_renamed_merged_and_dropped_in_all_splits_also_in_test_files(knobs, project, english):
    ways = {"positive": ["Positive", "pos", "True"], "negative": ["negative", "0", "0.0"]}
    rows = [(text, ways[label][number % 3], number % 4 == 0) for number, (text, label) in enumerate(english[:400])]
    rows.sort(key=lambda row: not row[2])
    dropped = [("no opinion here", "n/a"), ("", "n/a"), (english[0][0], "n/a"), ("torn", None, False, "a quote is opened")]
    put(project, [*rows, *dropped])
    label_map = {
        "Positive": "positive",
        "pos": "positive",
        "true": "positive",
        "0": "negative",
        "n/a": "",
        "Pos": "positive",
    }
    result = prepare(knobs.override({"data.label_map": label_map, "data.max_bad_share": 0.003}), project)
    truth = dict(english[:400])
    for name in SPLITS:
        table = pq.read_table(project.prepared / f"{name}.parquet")
        assert table["label"].to_pylist() == [truth[text] for text in table["text"].to_pylist()]
    assert read_json(project.prepared / "labels.json", made_by="prepare") == ["negative", "positive"]
    assert [(entry.label, entry.rows) for entry in result.classes] == sorted(Counter(truth.values()).items())
    assert result.rows_quarantined["dropped by data.label_map"] == 3
    assert Counter(row["reason"] for row in quarantined(project))["dropped by data.label_map"] == 3
    assert result.bad_share == pytest.approx(1 / 404, abs=1e-6)  # the torn row alone
    written = Counter(row[1] for row in rows)
    written["0"] += written.pop("0.0")
    assert {(entry.label, entry.becomes, entry.rows) for entry in result.label_map} == {
        ("n/a", "", 3),
        ("True", "positive", written["True"]),
        ("Positive", "positive", written["Positive"]),
        ("pos", "positive", written["pos"]),
        ("0", "negative", written["0"]),
    }
    assert result.label_map_unused == {"Pos": "pos"}
    assert result.look_alikes == []


def test_a_map_moves_no_row_to_another_split(knobs, project, english):
    put(project, english[:600])
    prepare(knobs, project)
    before = splits_of(project)
    prepare(knobs.override({"data.label_map": {"positive": "good", "negative": "bad"}}), project)
    assert splits_of(project) == before


@pytest.mark.parametrize("label_map", [{"positive": "negative"}, {"positive": ""}, {"positive": "", "negative": ""}])
def test_a_map_that_leaves_fewer_than_two_classes_is_one_line_that_names_it(knobs, project, english, label_map):
    put(project, english[:200])
    with pytest.raises(HeadwayError, match=r"expected two or more labels; add rows .* or change data\.label_map") as raised:
        prepare(knobs.override({"data.label_map": label_map}), project)
    assert "\n" not in str(raised.value)


def test_classes_that_look_alike_are_reported_unless_the_map_names_them(knobs, project, english):
    put(project, [(text, ("Good", "good", "bad")[number % 3]) for number, (text, _) in enumerate(english[:300])])
    assert prepare(knobs, project).look_alikes == [["Good", "good"]]
    assert prepare(knobs.override({"data.label_map": {"Good": "Good"}}), project).look_alikes == []
    assert prepare(knobs.override({"data.label_map": {"Good": "good"}}), project).look_alikes == []


def test_labels_that_are_a_score_are_one_line_before_any_other_problem_of_theirs(knobs, project, english):
    rows = [(text, str(1 + len(text) % 17 / 4)) for text, _ in english[:300]]
    put(project, [*rows, *[(text, f"{float(label) / 2}") for text, label in rows]])  # with conflicting labels too
    with pytest.raises(HeadwayError, match=r"^data\.label_column: the label column 'label' looks like a score") as raised:
        prepare(knobs, project)
    assert "\n" not in str(raised.value)
    assert not project.prepared.exists()


def test_the_command_warns_of_labels_that_look_alike_and_of_unused_keys(knobs, project, english, monkeypatch):
    put(project, [(text, ("Good", "good", "bad")[number % 3]) for number, (text, _) in enumerate(english[:300])])
    chosen = knobs.override({"data.label_map": {"baad": ""}})
    monkeypatch.setattr("headway.cli.stages._checked_project", lambda: (project, chosen))
    done = CliRunner().invoke(cli.app, ["prepare"], catch_exceptions=False)
    warnings = [line for line in done.stdout.splitlines() if line.startswith("! ")]
    assert len(warnings) == 2
    assert "Good" in warnings[0]
    assert "data.label_map" in warnings[0]
    assert "baad (did you mean bad?)" in warnings[1]


def test_duplicates_do_not_count_as_bad(knobs, project, english):
    put(project, english[:150] * 5)
    result = prepare(knobs.override({"data.max_bad_share": 0.0}), project)
    assert result.rows_quarantined["duplicate"] == 600
    assert result.bad_share == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("fine", "good")] * 3, "only the label 'good' in 1 usable rows, expected two or more labels"),
        (
            [("fine", "good"), ("dull", "bad")],
            "split.validation: none of 2 rows is in this split, because the first 5 of every class",
        ),
        (
            [(f"text {number}", f"label {number}") for number in range(1001)],
            "1,001 different labels in 1,001 rows, expected at most",
        ),
    ],
)
def test_unusable_labels_and_too_few_rows_are_a_one_line_error(knobs, project, rows, message):
    put(project, rows)
    with pytest.raises(HeadwayError) as caught:
        prepare(knobs, project)
    assert message in str(caught.value)
    assert not project.prepared.exists()


def test_fifty_languages_are_fifty_classes(knobs, project):
    chosen = languages()[:50]
    rows = [(text, code) for code in chosen for text in [text for text in translations(code) if len(text) > 25][:60]]
    put(project, rows)
    result = prepare(knobs, project)
    assert read_json(project.prepared / "labels.json", made_by="prepare") == sorted(chosen)
    # Sentences that closely related languages share have two labels.
    assert 0 < result.rows_quarantined["conflicting labels"] < 300
    assert {entry.label for entry in result.classes if entry.test} == set(chosen)
    assert result.leakage.actual_split == 0
    assert {"Latin", "Cyrillic", "Hebrew", "Greek"} <= result.scripts.keys()


def test_a_thousand_classes_are_possible(knobs, project):
    texts = [text for code in languages()[:6] for text in translations(code) if len(text) > 8]
    different = {normal_form(text): text for text in texts}.values()
    put(project, [(text, f"class {number % 1000}") for number, text in enumerate(different)])
    result = prepare(knobs.override({"data.max_bad_share": 1.0, "split.first_rows_in_training": 1}), project)
    assert len(result.classes) == 1000
    assert all(entry.train for entry in result.classes)
    assert set(result.rare_classes) == {entry.label for entry in result.classes if not (entry.validation and entry.test)}
    assert 0 < len(result.rare_classes) < 1000


def test_a_split_left_empty_by_first_rows_in_training_is_an_error_that_names_the_knob(knobs, project):
    texts = [text for code in languages()[:3] for text in translations(code) if len(text) > 8]
    different = list({normal_form(text): text for text in texts}.values())[:600]
    put(project, [(text, f"class {number % 200}") for number, text in enumerate(different)])
    with pytest.raises(
        HeadwayError, match=r"^split\.validation: none of \d+ rows .* leaves 0; lower split\.first_rows_in_training"
    ):
        prepare(knobs, project)
    assert prepare(knobs.override({"split.first_rows_in_training": 1}), project).splits["validation"] > 50


def test_a_class_with_a_single_row_is_in_training_and_reported(knobs, project, english):
    put(project, [*english[:300], ("一个人的看法", "alone")])
    result = prepare(knobs, project)
    assert result.rare_classes == ["alone"]
    assert splits_of(project)["一个人的看法"] == "train"


@pytest.mark.parametrize("language", ["ar", "he", "th", "ja", "ko", "zh_Hans", "hi"])
def test_texts_in_every_script_are_kept_unchanged(knobs, project, language):
    texts = [text for text in translations(language) if len(text) > 10]
    put(project, [(text, ("ثقيل", "קל")[len(text) % 2]) for text in texts])
    result = prepare(knobs, project)
    assert result.rows_in == result.rows_kept + sum(result.rows_quarantined.values()) == len(texts)
    assert splits_of(project).keys() <= set(texts)
    assert result.rows_kept > 0.9 * len(texts)
    assert set(pq.read_table(project.prepared / "train.parquet")["label"].to_pylist()) == {"ثقيل", "קל"}


def test_appended_chinese_reviews_do_not_move_existing_ones(knobs, project):
    reviews = [(text.strip(), str(label)) for text, label in zip(*chinese(2000), strict=True) if len(text.strip()) > 10]
    reviews = [reviews[index] for index in np.random.default_rng(0).permutation(len(reviews))]
    rows = reviews[:1200]
    put(project, rows)
    prepare(knobs, project)
    before = splits_of(project)
    more = [(text + "！", label) for text, label in rows[:100]]
    put(project, rows + more + reviews[1200:])
    prepare(knobs, project)
    after = splits_of(project)
    assert before.items() <= after.items()
    assert len(after) > len(before) + 400


def test_a_test_file_is_the_test_split_and_its_near_duplicates_are_not_trained_on(knobs, project, english):
    tested = [(*row, True) for row in english[:300]]
    near_duplicates = [(text + " !", label) for text, label in english[:60] if len(text.split()) > 15]
    rest = english[1000:1600]
    put(project, [*tested, english[0], *near_duplicates, *rest])
    result = prepare(knobs, project)
    split = splits_of(project)
    assert {text for text, name in split.items() if name == "test"} == {text for text, _, _ in tested}
    assert result.rows_quarantined["near-duplicate of a held-out row"] >= 0.9 * len(near_duplicates)
    assert result.rows_quarantined["duplicate"] == 1
    assert quarantined(project)[0] == {
        "file": "own.csv",
        "row": "1",
        "reason": "duplicate of row 1 of test.csv",
        **dict(zip(("text", "label"), english[0], strict=True)),
    }
    assert result.leakage.random_split > 0.1
    assert result.leakage.actual_split == 0


def test_unlabelled_texts_are_kept_apart_once_each_without_near_duplicates_of_held_out_rows(knobs, project, english):
    unlabelled = [text for text, _ in english[1000:1100]] * 2 + ["", None] + [text for text, _ in english[:300]]
    put(project, english[:300], unlabelled)
    result = prepare(knobs, project)
    texts = pq.read_table(project.prepared / "unlabelled.parquet")["text"].to_pylist()
    assert texts == [text for text, _ in english[1000:1100]]
    assert result.unlabelled_rows == 100
    assert result.unlabelled_quarantined == {"missing text": 2, "duplicate": 400}
    assert result.rows_in == 300 == result.rows_kept
    reasons = Counter(row["reason"].split(" of row")[0] for row in quarantined(project))
    assert reasons == {"unlabelled: duplicate": 400, "unlabelled: missing text": 2}
    first = next(row for row in quarantined(project) if row["reason"].startswith("unlabelled: duplicate"))
    assert (first["file"], first["row"], first["reason"]) == ("more.csv", "101", "unlabelled: duplicate of row 1")


@pytest.mark.parametrize("kind", ["labelled", "unlabelled"])
def test_a_lost_row_is_an_error_that_leaves_the_old_data(knobs, project, english, monkeypatch, kind):
    put(project, english[:300], [text for text, _ in english[1000:1100]])
    prepare(knobs, project)
    before = sha256_of_folder(project.prepared)
    add = writing.SplitWriter.add

    def forget(writer, texts, labels, label_ids, extra):
        kept = [index for index, label in enumerate(label_ids) if (label < 0) != (kind == "unlabelled") or index]
        add(writer, *([cells[index] for index in kept] for cells in (texts, labels, label_ids)))

    monkeypatch.setattr(writing.SplitWriter, "add", forget)
    with pytest.raises(HeadwayError, match=r"rows, but .* are kept and .* quarantined: \d were lost"):
        prepare(knobs, project)
    assert sha256_of_folder(project.prepared) == before


def test_rows_that_do_not_match_the_manifest_are_refused(knobs, project, english):
    put(project, english[:300], ["one text", "another text"])
    (project.raw / "unlabelled.parquet").unlink()
    with pytest.raises(HeadwayError, match=r"2 unlabelled rows, .*: 2 were lost"):
        prepare(knobs, project)


def test_documents_of_a_megabyte_and_control_characters_are_kept(knobs, project, english):
    long = [(" ".join(text for text, _ in english[start : start + 9_000 : 1]) * 1, "long") for start in range(0, 40, 2)]
    assert all(len(text) > 900_000 for text, _ in long)
    put(project, [*english[:100], ("bell\x07 and nul\x00", "positive"), *long[:4]])
    result = prepare(knobs, project)
    assert result.markup_noise["control_characters"] == 1
    assert "bell\x07 and nul\x00" in splits_of(project)
    # The others are near-duplicates of the first, so they join its split.
    assert {splits_of(project)[text] for text, _ in long[:4]} == {"train"}


def test_rows_not_sampled_are_counted_but_not_quarantined(knobs, project, english):
    put(project, [*english[:400], english[0]])
    result = prepare(knobs.override({"data.max_rows": 200}), project)
    assert [row["reason"] for row in quarantined(project)] == ["duplicate of row 1"]
    assert result.rows_not_sampled == 400 - result.rows_kept
    assert result.rows_kept == pytest.approx(200, rel=0.2)


def test_the_metrics_and_the_profile_agree_and_are_the_same_bytes_every_time(knobs, project, english):
    put(project, english[:400])
    prepare(knobs, project)
    first = [sha256_of_folder(folder) for folder in (project.profile.parent, project.prepared)]
    prepare(knobs, project)
    assert [sha256_of_folder(folder) for folder in (project.profile.parent, project.prepared)] == first
    profile = read_json(project.profile, made_by="prepare")
    metrics = read_json(project.metrics("data"), made_by="prepare")
    assert metrics["splits"] == profile["splits"]
