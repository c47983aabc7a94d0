"""A trial of the real training on real sentences: what it hands back, and that it needs nothing but what it is given."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from headway.data.batching.datamodule import TextDataModule, WholeTexts
from headway.model.fitting import fit_ngrams
from headway.model.lightning import ClassifierModule
from headway.model.schedule import resolve
from headway.model.training import fit
from headway.search import objective
from headway.search.goals import KEPT_BY, OBJECTIVES
from headway.search.objective import Shared, run_trial
from headway.search.trial import Outcome, Task
from headway.stages.tune.rows import load_shared
from tests.conftest import Slice

SMALL: dict[str, Any] = {
    "model.d_model": 8,
    "model.dim_feedforward": 16,
    "model.bigram_buckets": 512,
    "training.patience": 5,
    "training.tokens_per_batch": 256,
    "training.threads": 1,
    "tune.max_epochs": 2,
    "tune.train_share": 0.5,
    "tune.space": {},
}
POINT = {"training.learning_rate": 0.004}


def shared_with(reviews: Slice, **changed: Any) -> Shared:
    params = reviews.params.override({**SMALL, **{name.replace("__", "."): value for name, value in changed.items()}})
    return load_shared(params, reviews.layout)


@pytest.fixture(scope="module")
def shared(reviews: Slice) -> Shared:
    return shared_with(reviews)


def test_a_trial_gives_its_curve_its_score_and_its_cost(shared: Shared) -> None:
    seen: list[dict[str, float]] = []
    outcome = run_trial(shared, Task(3, POINT), seen.append)
    assert outcome.state == "complete"
    assert [entry["progress"] for entry in outcome.curve] == [0.25, 0.5, 0.75, 1]
    assert outcome.curve[-1]["epoch"] == 2
    assert list(outcome.curve) == seen
    assert outcome.values == (min(outcome.curve, key=lambda entry: entry[KEPT_BY])["joint_validation_accuracy"],)
    assert outcome.tokens == 2 * int(shared.data.train.lengths.sum())
    assert outcome.seconds > 0


def test_a_trial_whose_rows_cannot_be_encoded_fails_with_the_reason(shared: Shared) -> None:
    assert run_trial(shared, Task(0, POINT, problem="no vocabulary")) == Outcome("failed", reason="no vocabulary")


def test_a_trial_trains_as_the_stage_train_would(shared: Shared) -> None:
    """Its training is bit for bit the one that the stage train would do with these params, rows and epochs."""
    knobs = shared.params.override({**POINT, "training.max_epochs": 2})
    data = TextDataModule(shared.data.train, shared.data.validation, knobs.model.max_length, knobs.seed)
    schedule = resolve(knobs.training, data)
    module = ClassifierModule(
        knobs.model, knobs.training, shared.data.vocabulary_size, shared.class_rows, knobs.seed, schedule
    )
    fit(module, data)
    curve = run_trial(shared, Task(0, POINT)).curve
    assert [{name: entry[name] for name in module.history[0]} for entry in curve] == module.history
    assert [*curve[0]] == [*module.history[0], *(goal.entry for goal in OBJECTIVES.values())]


def test_a_trial_trains_on_one_device_so_its_steps_are_not_divided(reviews: Slice) -> None:
    several = shared_with(reviews, training__devices=2, tune__max_epochs=1)
    data = TextDataModule(several.data.train, several.data.validation, several.params.model.max_length, several.params.seed)
    outcome = run_trial(several, Task(0, POINT))
    assert outcome.curve[-1]["step"] == data.steps(256, 1) > data.steps(256, 1, world_size=2)
    assert outcome.curve[-1]["progress"] == 1


def test_a_trial_starts_from_the_word_vectors_that_its_rows_bring(reviews: Slice, shared: Shared) -> None:
    vectors = np.random.default_rng(0).normal(size=(shared.data.vocabulary_size, 4)).astype(np.float32)
    rows = replace(shared.data, word_vectors=vectors)
    first, again = (run_trial(replace(shared, data=rows), Task(0, POINT)).curve for _ in range(2))
    assert first == again != run_trial(shared, Task(0, POINT)).curve
    assert run_trial(shared, Task(0, POINT, data=rows)).curve == first  # or those of the task alone


def test_what_travels_to_a_worker_and_back_is_plain(shared: Shared, tmp_path: Any) -> None:
    """In a process that has neither MLflow nor Optuna nor Prefect the trial gives the same, bit for bit."""
    task = Task(1, POINT, {0.5: 0.0})
    (tmp_path / "in").write_bytes(pickle.dumps((shared, task)))
    script = (
        "import pickle, sys\n"
        "from pathlib import Path\n"
        "sys.modules.update(dict.fromkeys(['mlflow', 'optuna', 'prefect', 'dvc']))\n"
        "from headway.search.objective import run_trial\n"
        "folder = Path(sys.argv[1])\n"
        "(folder / 'out').write_bytes(pickle.dumps(run_trial(*pickle.loads((folder / 'in').read_bytes()))))\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    there, here = pickle.loads((tmp_path / "out").read_bytes()), run_trial(shared, task)
    assert (there.curve, there.values, there.tokens) == (here.curve, here.values, here.tokens)


def test_the_share_of_the_rows_travels_without_the_rest(reviews: Slice, shared: Shared) -> None:
    every = shared_with(reviews, tune__train_share=1.0)
    assert 0.3 < len(shared.data.train) / len(every.data.train) < 0.7
    assert shared.class_rows == every.class_rows  # of the whole split, which weighs the classes
    assert len(pickle.dumps(shared)) < len(pickle.dumps(every))
    assert sum(every.class_rows) == len(every.data.train)
    assert len(shared_with(reviews, tune__train_share=1e-9).data.train) == len(every.data.train)  # rather all than none


@pytest.mark.parametrize(("limit", "end"), [({0.25: 1.0}, 1), ({0.25: 0.0, 0.5: 1.0}, 2), ({0.3: 1.0}, 2)])
def test_a_trial_below_its_limit_ends_there(shared: Shared, limit: dict[float, float], end: int) -> None:
    outcome = run_trial(shared, Task(0, POINT, limit))
    assert outcome.state == "pruned"
    assert len(outcome.curve) == end
    assert outcome.values == (outcome.curve[-1]["joint_validation_accuracy"],)
    assert outcome.tokens == round(outcome.curve[-1]["epoch"] * int(shared.data.train.lengths.sum()))
    assert run_trial(shared, Task(0, POINT, dict.fromkeys(limit, 0.0))).state == "complete"


def test_too_few_steps_are_no_reason_to_end_a_trial(reviews: Slice) -> None:
    few = shared_with(reviews, training__tokens_per_batch=4096)
    assert run_trial(few, Task(0, POINT, {0.25: 1.0, 0.5: 1.0})).state == "complete"


def test_a_loss_is_held_against_a_limit_of_losses(reviews: Slice) -> None:
    losses = shared_with(reviews, tune__objective="negative_log_likelihood")
    assert run_trial(losses, Task(0, POINT, {0.5: 0.0})).state == "pruned"
    outcome = run_trial(losses, Task(0, POINT, {0.5: 100.0}))
    assert outcome.values == (min(outcome.curve, key=lambda entry: entry[KEPT_BY])["joint_validation_loss"],)


def test_a_training_that_diverges_is_a_failed_trial_with_its_reason(shared: Shared) -> None:
    outcome = run_trial(shared, Task(0, {"training.learning_rate": 1e30}))
    assert (outcome.state, outcome.values) == ("failed", ())
    assert outcome.reason.startswith("training diverged: ")


def test_a_metric_that_is_no_number_fails_the_trial(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflowing(module: Any, data: Any, *, report: Any, **_: Any) -> None:
        report({"step": 1200, "validation_accuracy": 0.5, "validation_loss": float("inf")})

    monkeypatch.setattr(objective, "fit", overflowing)
    monkeypatch.setattr(objective, "logits_by_row", lambda module, data: torch.zeros(len(data.validation), 2))
    outcome = run_trial(shared, Task(0, POINT))
    assert (outcome.state, outcome.curve) == ("failed", ())
    assert outcome.reason == "training diverged: validation_loss inf at step 1,200"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "MemoryError"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory\nmore"), "DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_is_a_failed_trial(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def starving(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(objective, "fit", starving)
    assert run_trial(shared, Task(0, POINT)).reason == reason


def test_a_mistake_in_the_code_is_raised(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: Any, **__: Any) -> None:
        raise KeyError("name")

    monkeypatch.setattr(objective, "fit", wrong)
    with pytest.raises(KeyError):
        run_trial(shared, Task(0, POINT))


def test_a_size_is_that_of_the_weights(reviews: Slice) -> None:
    sized = shared_with(reviews, tune__second_objective="size", tune__max_epochs=1)
    small, large = (run_trial(sized, Task(0, {"model.d_model": width})).values[1] for width in (8, 16))
    assert sized.data.ngrams is not None
    ngrams = fit_ngrams(WholeTexts(sized.data.train, sized.data.validation), 2, sized.params)
    assert ngrams is not None
    n_grams = len(ngrams.keys) * (8 + 2 * 4) / 1e6  # a hash and a weight for each class
    assert sized.data.ngrams.cost == pytest.approx(n_grams, abs=1e-4)
    tokens_and_pairs = (sized.data.vocabulary_size + 512) * 4 / 1e6
    assert 8 * tokens_and_pairs < small - n_grams < 8 * tokens_and_pairs + 0.02
    assert small < large


def test_a_latency_is_milliseconds_of_one_text(reviews: Slice, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10_000))
    timed = shared_with(reviews, tune__second_objective="latency", tune__max_epochs=1)
    knobs = timed.params
    data = TextDataModule(timed.data.train, timed.data.validation, knobs.model.max_length, 1)
    schedule = resolve(knobs.training, data)
    module = ClassifierModule(knobs.model, knobs.training, timed.data.vocabulary_size, timed.class_rows, 1, schedule)
    monkeypatch.setattr(objective.time, "perf_counter", lambda: next(ticks) / 1000)
    assert objective.latency(module.classifier, data.validation) == pytest.approx(1.0)
    assert timed.data.ngrams is not None
    assert timed.data.ngrams.cost > 0
    assert not module.classifier.training
    assert torch.is_grad_enabled()
