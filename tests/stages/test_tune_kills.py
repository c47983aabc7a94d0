"""The real search, killed with kill -9 at random moments: in a trial, between trials and during a write."""

from __future__ import annotations

import random
from itertools import cycle, groupby
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from headway.layout import Layout
from headway.model.lightning import ClassifierModule
from headway.params import Params
from headway.search.attempts import INTERRUPTED_TWICE, NUMBER, OUTCOME, STARTED
from headway.search.found import trials_of
from headway.search.storage import open_storage
from headway.stages.tune import tune
from headway.tracking import Tracker
from tests.apart import CONTEXT, dying, is_killed
from tests.search.test_kills import die_within_write
from tests.stages.test_tune import trial_name

TINY: dict[str, Any] = {
    "tune.trials": 28,
    "tune.max_epochs": 1,
    "tune.train_share": 0.25,
    "tune.pruning": False,
    "tune.space": {"training.learning_rate": {"type": "float", "low": 0.001, "high": 0.03, "log": True}},
    "training.tokens_per_batch": 256,
}
#: Where a kill happens, and among how many first training steps, MLflow calls or writes of a run it is drawn.
MOMENTS = {"in a trial": 10, "between trials": 9, "in a write": 5}


@pytest.fixture(scope="module", autouse=True)
def preload() -> None:
    CONTEXT.set_forkserver_preload([__name__])


def search(params: Params, layout: Layout, where: str = "", nth: int = 0) -> None:
    """Run the stage, or continue it, and kill this process during it."""
    match where:
        case "in a trial":
            ClassifierModule.training_step = dying(ClassifierModule.training_step, nth)  # type: ignore[method-assign]
        case "between trials":  # where the stage calls MLflow
            dies = dying(lambda function, *args, **more: function(*args, **more), nth)
            for name in ("create_run", "update_run", "log_batch", "set_terminated"):
                function = getattr(MlflowClient, name)
                setattr(MlflowClient, name, lambda *args, f=function, **more: dies(f, *args, **more))
        case "in a write":
            die_within_write(nth)
    tune(params, layout, lambda: Tracker(params, layout))


def attempts(layout: Layout) -> list[optuna.trial.FrozenTrial]:
    """Every attempt in the study's journal, including interrupted ones, by number."""
    journals = list(layout.scratch.glob("study/*/journal.log"))
    if not journals or not journals[0].stat().st_size:
        return []
    storage = open_storage("", journals[0])
    found = [trial for study in storage.get_all_studies() for trial in storage.get_all_trials(study._study_id)]
    return sorted(found, key=lambda trial: (trial.user_attrs[NUMBER], trial.number))


@pytest.mark.slow
def test_a_search_killed_at_twenty_random_moments_loses_nothing_and_leaves_no_run_running(
    tunable: tuple[Params, Layout],
) -> None:
    params, layout = tunable
    chosen = params.override(TINY)
    draw = random.Random(20)
    kept: dict[int, Any] = {}
    for _, where in zip(range(20), cycle(MOMENTS), strict=False):
        nth = draw.randint(1, MOMENTS[where])
        assert is_killed(search, chosen, layout, where, nth), f"the search was over before {where}, {nth}"
        ended = {trial.user_attrs[NUMBER]: trial.user_attrs.get(OUTCOME) for trial in attempts(layout)}
        ended = {number: outcome for number, outcome in ended.items() if outcome}
        assert ended.items() >= kept.items(), f"a finished trial was lost or changed by a kill {where}, {nth}"
        kept = ended
    assert not is_killed(search, chosen, layout)

    trials = {trial.number: trial for trial in trials_of(layout)}
    assert list(trials) == list(range(28))
    assert len({frozenset(trial.point.items()) for trial in trials.values()}) == 28
    interrupted = 0
    for number, group in groupby(attempts(layout), key=lambda trial: trial.user_attrs[NUMBER]):
        *earlier, last = group
        started = [trial for trial in earlier if STARTED in trial.user_attrs]  # one that no worker was given does not count
        assert len(started) <= 1
        interrupted += len(started) + (trials[number].state == "failed")
        assert all(trial.params == last.params == trials[number].point for trial in earlier)
        assert all(trial.state == optuna.trial.TrialState.FAIL and OUTCOME not in trial.user_attrs for trial in earlier)
        assert trials[number].state == "complete" or (started and trials[number].reason == INTERRUPTED_TWICE)
    assert interrupted >= 7  # each kill in a trial has interrupted one
    tracker = Tracker(chosen, layout)
    runs = tracker.client.search_runs([tracker.experiment_id])
    (parent,) = [run for run in runs if MLFLOW_PARENT_RUN_ID not in run.data.tags]
    assert parent.info.status == "FINISHED"
    nested = {trial_name(run): run for run in runs if run is not parent}
    assert len(nested) == len(runs) - 1 == 28
    for number, trial in trials.items():
        run = nested[f"trial {number}"]
        assert run.data.tags[MLFLOW_PARENT_RUN_ID] == parent.info.run_id
        assert run.info.status == ("FINISHED" if trial.state == "complete" else "FAILED")
        assert run.data.metrics.get("score") == trial.score
