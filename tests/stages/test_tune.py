"""The search stage on real sentences: it never sees the test split, and MLflow shows one run a trial below one parent."""

from __future__ import annotations

import json

import pytest
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from headway.layout import Layout
from headway.params import Params
from headway.search import study
from headway.search.study import TrialResult
from headway.stages.tune import summary, tune
from headway.tracking import Tracker

SPACE = {"training.learning_rate": {"type": "float", "low": 0.001, "high": 0.03, "log": True}}


def without_test_split(layout: Layout) -> None:
    (layout.encoded / "test.arrow").unlink()
    (layout.prepared / "test.parquet").unlink()


def test_the_search_needs_no_test_split_and_leaves_one_run_a_trial(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    without_test_split(layout)
    chosen = params.override({"tune.trials": 2, "tune.max_epochs": 1, "tune.train_share": 0.5, "tune.space": SPACE})
    tracker = Tracker(chosen, layout)
    winner = tune(chosen, layout, tracker)

    trials = json.loads((layout.study / "trials.json").read_text(encoding="utf-8"))
    assert [trial["number"] for trial in trials] == [0, 1]
    assert trials[0]["point"] == {"training.learning_rate": params.training.learning_rate}
    assert json.loads((layout.study / "best_params.json").read_text(encoding="utf-8")) == winner.point
    assert winner.point == trials[winner.number]["point"]
    assert json.loads(layout.metrics("search").read_text(encoding="utf-8"))["best_trial"] == winner.number
    assert layout.plot("search_history").is_file()

    runs = tracker.client.search_runs([tracker.experiment_id])
    parents = [run for run in runs if MLFLOW_PARENT_RUN_ID not in run.data.tags]
    nested = [run for run in runs if MLFLOW_PARENT_RUN_ID in run.data.tags]
    assert [run.data.tags["headway.kind"] for run in parents] == ["pipeline"]
    assert sorted(run.info.run_name for run in nested) == ["trial 0", "trial 1"]
    assert {run.data.tags[MLFLOW_PARENT_RUN_ID] for run in nested} == {parents[0].info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in nested:
        trial = trials[int(run.info.run_name.split()[1])]
        assert run.data.params == {name: str(value) for name, value in trial["point"].items()}
        assert run.data.metrics["validation_accuracy"] == trial["score"]

    again = tune(chosen, layout, tracker)
    assert again == winner
    assert len(tracker.client.search_runs([tracker.experiment_id])) == len(runs)  # the study is over: no trial ran


def test_a_pruned_trial_is_no_failure_and_a_diverged_one_is(
    tunable: tuple[Params, Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    params, layout = tunable
    monkeypatch.setattr(study, "_is_poor", lambda study, *_: len(study.trials) == 2)
    chosen = params.override(
        {
            "training.learning_rate": 0.02,
            "tune.trials": 5,
            "tune.max_epochs": 2,
            "tune.train_share": 1.0,
            # From the larger rate there is no way back.
            "tune.space": {"training.learning_rate": {"type": "categorical", "choices": [0.02, 1e30]}},
        }
    )
    tracker = Tracker(chosen, layout)
    tune(chosen, layout, tracker)
    trials = json.loads((layout.study / "trials.json").read_text(encoding="utf-8"))
    assert trials[1]["state"] == "pruned"
    assert {trial["state"] for trial in trials} == {"complete", "pruned", "failed"}
    runs = {run.info.run_name: run for run in tracker.client.search_runs([tracker.experiment_id])}
    for trial in trials:
        run = runs[f"trial {trial['number']}"]
        assert run.info.status == ("FAILED" if trial["state"] == "failed" else "FINISHED")
        assert run.data.tags.get("headway.trial", "failed") == trial["state"]
    reasons = [trial["reason"] for trial in trials if trial["state"] == "failed"]
    assert all(reason.startswith("training diverged: loss ") for reason in reasons)


def test_the_summary_counts_trials_and_tells_what_the_search_gained() -> None:
    trials = [
        TrialResult(0, "complete", 0.7, [0.7], {}, ""),
        TrialResult(1, "pruned", 0.6, [0.6], {}, ""),
        TrialResult(2, "complete", 0.75, [0.75], {}, ""),
        TrialResult(3, "failed", None, [], {}, "no"),
    ]
    assert summary(trials) == {
        "trials": 4,
        "pruned": 1,
        "failed": 1,
        "best_trial": 2,
        "best_validation_accuracy": 0.75,
        "gain_over_defaults": 0.05,
    }
    failed_first = [TrialResult(0, "failed", None, [], {}, "no"), *trials[1:]]
    assert summary(failed_first)["gain_over_defaults"] is None
