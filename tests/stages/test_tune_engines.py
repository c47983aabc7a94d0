"""With two workers on every executor the search stage finds, bit for bit, what a single process finds."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from headway.layout import Layout
from headway.params import Params
from headway.search.found import trials_of
from headway.stages.tune import tune
from headway.tracking import Tracker

SPACE = {
    "training.learning_rate": {"type": "float", "low": 0.001, "high": 0.03, "log": True},
    "tokenizer.min_frequency": {"type": "int", "low": 2, "high": 5},
}
QUICK: dict[str, Any] = {
    "tune.trials": 3,
    "tune.max_epochs": 1,
    "tune.train_share": 0.5,
    "tune.space": SPACE,
    "tune.workers": 2,
}


@pytest.mark.slow
def test_every_executor_finds_what_one_process_finds(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    found = {}
    for engine in ("serial", "processes", "ray"):
        shutil.rmtree(layout.scratch / "study", ignore_errors=True)
        threads = 1 if engine == "serial" else 2  # which two workers share
        chosen = params.override({**QUICK, "tune.executor": engine, "training.threads": threads})
        tune(chosen, layout, lambda chosen=chosen: Tracker(chosen, layout))
        found[engine] = [(trial.number, trial.state, trial.point, trial.score, trial.curve) for trial in trials_of(layout)]
    assert [state for _, state, *_ in found["serial"]] == ["complete"] * 3
    assert found == dict.fromkeys(found, found["serial"])
