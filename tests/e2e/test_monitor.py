"""A champion at work is watched: nothing is shown while nothing changes, a loss raises an alarm, and a retraining follows it that
learns from the labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from headway.registry.registry import Registry
from headway.registry.version_ref import MONITORING_TAG
from tests.e2e.conftest import Clone
from tests.real_texts import chinese

pytestmark = pytest.mark.e2e
ALARM = 4


def logged(clone: Clone, texts: list[str], folder: Path, name: str) -> list[dict[str, str]]:
    """The rows that ``headway predict --log`` writes for some texts."""
    source, out = folder / f"{name}.csv", folder / f"{name}.labels.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    done = clone.run("headway", "predict", str(source), "--out", str(out), "--log")
    assert done.returncode == 0, done.stderr
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_an_alarm_leads_to_a_retraining_that_learns_from_the_labels(ran: Clone, tmp_path: Path) -> None:
    ran.edit(
        ('    folder: ""', f'    folder: "{tmp_path / "log"}"'),
        ("    texts: none", "    texts: full"),
        ("  feedback: false", "  feedback: true"),
    )
    usual = pq.read_table(ran.layout.prepared / "test.parquet")["text"].to_pylist()
    logged(ran, usual, tmp_path, "usual")  # the splits are sorted by class, as many files are
    done = ran.run("headway", "monitor", "--exit-status")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"OK: version 1 of headway, {len(usual):,} answers")
    skipped = ran.run("headway", "retrain", "--if-needed")
    assert skipped.returncode == 0, skipped.stderr
    assert "no retraining: monitoring: ok" in skipped.stdout

    rows = logged(ran, chinese(400)[0], tmp_path, "other")
    late, classes = tmp_path / "late.csv", ["negative", "positive"]
    with late.open("w", encoding="utf-8", newline="") as file:  # every answer was wrong
        writer = csv.writer(file)
        writer.writerow(["request_id", "true_label"])
        writer.writerows([row["request_id"], classes[row["label"] == classes[0]]] for row in rows if row["label"])
    done = ran.run("headway", "label", str(late))
    assert done.returncode == 0, done.stderr
    done = ran.run("headway", "monitor", "--exit-status")
    assert done.returncode == ALARM, done.stdout + done.stderr
    record = json.loads((ran.layout.reports / "monitoring.json").read_text(encoding="utf-8"))
    assert {one["name"] for one in record["drift"] if one["crossed_row"]} >= {"length", "unknown words"}
    assert record["realised"]["value"] == 0
    assert record["texts_compared"] > 0
    again = ran.run("headway", "monitor")
    assert again.stdout == done.stdout
    version = Registry(ran.tracker()).version("1")
    assert version is not None
    assert version.tags[MONITORING_TAG].startswith("alarm")
    assert (ran.layout.reports / "monitor.html").is_file()
    assert "monitor.html" in (ran.layout.reports / "index.html").read_text(encoding="utf-8")

    before = json.loads(ran.layout.metrics("data").read_text(encoding="utf-8"))["rows_in"]
    done = ran.run("headway", "retrain", "--if-needed")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "retraining: monitoring raised an alarm" in done.stdout
    after = json.loads(ran.layout.metrics("data").read_text(encoding="utf-8"))["rows_in"]
    assert after - before == len({row["text"] for row in rows if row["label"]})
