"""``headway monitor`` as a person uses it: what it prints, its exit status, and one line with the remedy for each mistake."""

from __future__ import annotations

import csv
import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from headway import HeadwayError, cli
from headway.cli.monitor import monitor as command
from headway.layout import Layout
from headway.monitoring.record import MonitoringRecord
from headway.promotion.decision import RETIREMENT
from headway.registry.version_ref import MONITORING_TAG
from headway.serving.log.rows import SCHEMA, text_hash, with_classes
from headway.serving.log.store import PartStore, part_name
from headway.serving.package import ModelPackage
from tests.promotion.conftest import SCORES, House
from tests.real_texts import chinese

CLASSES = ["negative", "positive"]
WARNING, ALARM = 3, 4


@pytest.fixture
def champion(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """A project, the working directory, whose version 1 is champion, and whose log is the folder ``log``."""
    layout = house.registry.tracker.layout
    shutil.copytree(house.stock.layout.prepared, layout.prepared)
    version = house.version(0)
    house.registry.client.set_model_version_tag(house.registry.name, version.version, "headway.split", "{}")
    package = ModelPackage.load(house.stock.folders[0])
    rows = pq.read_table(layout.prepared / "test.parquet")
    predicted = package.predict_proba(rows["text"].to_pylist()).argmax(axis=1)
    accuracy = float(
        np.mean([CLASSES[one] == label for one, label in zip(predicted, rows["label"].to_pylist(), strict=True)])
    )
    house.decide(version, scores={"candidate": {**SCORES, "accuracy": accuracy}, "linear baseline": SCORES})
    text = layout.params.read_text(encoding="utf-8")
    layout.params.write_text(
        text.replace('    folder: ""  ', "    folder: log ").replace("texts: none  ", "texts: full  "), encoding="utf-8"
    )
    monkeypatch.chdir(layout.root)
    return house


def run(*arguments: str, given: bytes = b"") -> Result:
    return CliRunner().invoke(cli.app, ["monitor", *arguments], input=given, catch_exceptions=False)


def record() -> MonitoringRecord:
    """What was found last."""
    files = [path for path in (Path("reports/monitoring.json"), Path("reports/monitor_tables.json")) if path.is_file()]
    last = max(files, key=lambda path: path.stat().st_mtime_ns)
    return MonitoringRecord.model_validate_json(last.read_text(encoding="utf-8"))


@pytest.fixture
def without_a_log(champion: House) -> House:
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("    folder: log ", '    folder: ""  '), encoding="utf-8")
    return champion


def table(name: str, texts: list[str], labels: list[str] | None = None, column: str = "label") -> str:
    with open(name, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", column] if labels else ["text"])
        writer.writerows(zip(texts, labels, strict=True) if labels else ([text] for text in texts))
    return name


def usual(layout: Layout) -> tuple[list[str], list[str]]:
    """Texts like those of the test rows, with their labels."""
    rows = pq.read_table(layout.prepared / "validation.parquet")
    return rows["text"].to_pylist(), rows["label"].to_pylist()


def log(texts: list[str], labels: list[str], keep: str = "full", **columns: object) -> None:
    time = datetime.now(UTC) + timedelta(seconds=5)
    rows = [
        {"request_id": f"r{row}", "time": time, "version": "1", "role": "champion", "source": "http", "label": label}
        | {"probability": 0.6, "characters": len(text), "unknown_share": 0.1}
        | {"text_sha256": text_hash(text) if keep != "none" else None, "text": text if keep == "full" else None}
        | columns
        for row, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]
    named = pa.Table.from_pylist(rows, SCHEMA).replace_schema_metadata(with_classes(CLASSES))
    PartStore.open("log").write(part_name(time, "w"), time.date(), named)


def test_an_empty_log_is_ok_and_says_so(champion: House) -> None:
    done = run("--exit-status")
    assert done.exit_code == 0
    assert done.stdout.startswith("OK: version 1 of headway, 0 answers\n")
    assert "has not answered yet" in Path("reports/monitor.html").read_text(encoding="utf-8")


def test_usual_texts_of_a_table_are_ok(champion: House) -> None:
    file = table("week.csv", *usual(champion.stock.layout))
    done = run(file, "--exit-status")
    assert done.exit_code == 0, done.stdout
    assert done.stdout.startswith("OK: version 1 of headway")
    found = record()
    assert found.source == "week.csv"
    assert found.realised is not None
    assert found.realised.rows == found.answers > 50


def test_other_texts_are_a_warning_and_wrong_answers_an_alarm(champion: House) -> None:
    texts = chinese(200)[0]
    done = run(table("other.csv", texts), "--exit-status")
    assert done.exit_code in (WARNING, ALARM)
    assert {one.name for one in record().drift if one.crossed} >= {"length", "unknown words"}
    assert record().ngrams
    package = ModelPackage.load(champion.stock.folders[0])
    wrong = [CLASSES[1 - one] for one in package.predict_proba(texts).argmax(axis=1)]
    assert run(table("wrong.csv", texts, wrong), "--exit-status").exit_code == ALARM
    assert run("wrong.csv").exit_code == 0
    found = record()
    assert found.realised is not None
    assert found.realised.value == 0


def tag(house: House) -> str:
    version = house.registry.version("1")
    assert version is not None
    return str(version.tags.get(MONITORING_TAG, ""))


def test_what_tables_show_is_about_the_champion_only_without_a_log(champion: House) -> None:
    log(["fine"], ["positive"])
    assert run().exit_code == 0
    before = {
        path: path.read_text(encoding="utf-8") for path in map(Path, ("reports/monitor.html", "reports/monitoring.json"))
    }
    done = run(table("other.csv", chinese(200)[0]))
    assert done.stdout.endswith("monitor_tables.html\n")
    assert {path: path.read_text(encoding="utf-8") for path in before} == before
    assert tag(champion).startswith("ok, ")


def test_without_a_log_tables_are_what_is_known_of_the_champion(without_a_log: House) -> None:
    done = run(table("other.csv", chinese(200)[0]))
    assert done.stdout.endswith("monitor.html\n")
    assert tag(without_a_log).startswith("warning, other.csv; ")


def test_nothing_names_a_day_for_a_table(champion: House) -> None:
    done = run(table("other.csv", chinese(200)[0]))
    assert "(table)" not in done.stdout
    assert "from table to table" not in Path("reports/monitor_tables.html").read_text(encoding="utf-8")


def test_standard_input_and_another_column_can_be_read(champion: House) -> None:
    texts, labels = usual(champion.stock.layout)
    lines = "\n".join(json.dumps({"text": text, "verdict": label}) for text, label in zip(texts, labels, strict=True))
    done = run("-", "--label-column", "verdict", given=lines.encode())
    assert done.exit_code == 0, done.output
    realised = record().realised
    assert realised is not None
    assert realised.rows == len(texts)


@pytest.mark.parametrize("keep", ["none", "hashed", "full"])
def test_a_log_with_and_without_texts_gives_the_same_numbers(champion: House, keep: str) -> None:
    texts = chinese(150)[0]
    log(texts, [CLASSES[row % 2] for row in range(150)], keep)
    assert run().exit_code == 0
    found = record()
    assert found.answers == 150
    assert "length" in {one.name for one in found.drift if one.crossed}
    assert (found.texts_compared, bool(found.examples)) == ((150, True) if keep == "full" else (0, False))
    page = Path("reports/monitor.html").read_text(encoding="utf-8")
    assert ("No texts were compared" in page) == (keep != "full")


def test_a_second_look_prints_the_same(champion: House) -> None:
    log(chinese(80)[0], [CLASSES[row % 2] for row in range(80)])
    assert run().stdout == run().stdout


def test_an_unreadable_part_is_skipped_and_named(champion: House) -> None:
    log(["fine"], ["positive"])
    (part,) = Path("log").rglob("*.parquet")
    part.with_name(part.name.replace("-w", "-x")).write_bytes(b"PAR1 but not really")
    done = run()
    assert done.exit_code == 0
    assert (record().answers, len(record().unreadable)) == (1, 1)
    assert "skipped: " in done.stdout


def test_answers_of_another_model_with_the_same_number_are_left_out(champion: House) -> None:
    log(["a", "b"], ["spam", "ham"])
    assert run().exit_code == 0
    assert record().answers == 0


def mistake(*arguments: str) -> str:
    with pytest.raises(HeadwayError) as error:  # the entry point prints it as one line and exits with 2
        CliRunner().invoke(cli.app, ["monitor", *arguments], catch_exceptions=False)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_without_a_champion_the_remedy_is_to_train_one(champion: House) -> None:
    version = champion.registry.version("1")
    assert version is not None
    champion.decide(version, RETIREMENT)
    assert "has no champion" in mistake()
    assert "`make run`" in mistake(table("week.csv", ["fine"]))


def test_a_deleted_champion_is_named(champion: House) -> None:
    champion.registry.client.delete_model_version(champion.registry.name, "1")
    assert "version 1 of headway, the champion, was deleted" in mistake()


def test_test_rows_that_are_missing_or_of_another_split_are_a_mistake(champion: House) -> None:
    client, name = champion.registry.client, champion.registry.name
    client.set_model_version_tag(name, "1", "headway.split", json.dumps({"split.test": 0.31}))
    assert "trained with another split.test" in mistake()
    client.set_model_version_tag(name, "1", "headway.split", "{}")
    shutil.rmtree("data/prepared")
    assert "prepare" in mistake()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["nosuch.csv"], r"no such file$"),
        (["week.csv", "--label-column", "labels"], "--label-column: week.csv has no column 'labels'.*label"),
        (["week.csv", "--text-column", "nosuch"], "nosuch"),
        (["--label-column", "label"], "--label-column is for files"),
        (["--text-column", "text"], "--text-column is for files"),
        (["empty.csv"], "has no text that can be classified"),
        (["numbers.csv"], "--text-column"),
    ],
)
def test_a_mistake_is_one_line(champion: House, arguments: list[str], what: str) -> None:
    table("week.csv", *usual(champion.stock.layout))
    table("empty.csv", ["", " "])
    Path("numbers.csv").write_text("a,b\n1,2\n3,4\n", encoding="utf-8")
    assert re.search(what, mistake(*arguments))


def test_without_a_log_folder_the_knob_is_named(without_a_log: House) -> None:
    with pytest.raises(HeadwayError, match=r"serving\.log\.folder: is empty.*headway monitor this_week\.csv"):
        command()


def test_test_rows_are_scored_once(champion: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run().exit_code == 0
    (kept,) = Path(champion.stock.params.serving.log.folder or "log").glob("monitor/reference-*.parquet")
    with monkeypatch.context() as patched:
        patched.setattr(ModelPackage, "predict_proba", None)
        assert run().exit_code == 0
    kept.write_bytes(b"damaged")
    assert run().exit_code == 0
    assert pq.read_table(kept).num_rows > 50
