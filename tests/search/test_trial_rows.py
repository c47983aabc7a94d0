"""The rows that a real trial reports, and a trial with another seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from headway.data.batching import TextBatches
from headway.data.batching.datamodule import TextDataModule, WholeTexts
from headway.model.fitting import fit_ngrams
from headway.model.joint import JointClassifier
from headway.model.training import fit
from headway.search import objective
from headway.search.goals import KEPT_BY
from headway.search.objective import Shared, run_trial
from headway.search.trial import Outcome, Task, decode_rows
from headway.stages.train import join
from headway.stages.tune.rows import load_shared
from tests.conftest import Slice

SMALL: dict[str, Any] = {
    "model.d_model": 8,
    "model.dim_feedforward": 16,
    "model.bigram_buckets": 512,
    "training.tokens_per_batch": 256,
    "training.threads": 1,
    "tune.max_epochs": 1,
    "tune.train_share": 0.5,
    "tune.space": {},
}


def shared_with(reviews: Slice, **changed: Any) -> Shared:
    params = reviews.params.override({**SMALL, **{name.replace("__", "."): value for name, value in changed.items()}})
    return load_shared(params, reviews.layout)


@pytest.mark.parametrize("goal", ["accuracy", "macro_f1", "negative_log_likelihood"])
def test_the_mean_of_the_rows_is_the_score_that_the_trial_is_ranked_by(reviews: Slice, goal: str) -> None:
    outcome = run_trial(shared_with(reviews, tune__objective=goal), Task(0, {}))
    rows = decode_rows(outcome.row_scores)[0]
    assert len(rows) == len(shared_with(reviews).data.validation)
    assert rows.mean() == pytest.approx(outcome.values[0], abs=1e-3)  # the rows are in half precision


def test_the_logits_are_in_the_order_of_the_texts_though_batches_are_sorted_by_length(
    reviews: Slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text alone gets the logits of its row, of both parts."""
    shared, seen = shared_with(reviews), dict[str, np.ndarray]()
    assert shared.data.ngrams is not None
    validation = shared.data.validation
    assert (np.diff(validation.lengths) < 0).any()
    original = objective.logits_by_row

    def keep(module: Any, data: TextDataModule) -> torch.Tensor:
        found = original(module, data)
        classifier = module.classifier.eval()
        with torch.inference_mode():
            seen["alone"] = torch.cat([classifier(data.validation[[row]][0]) for row in range(20)]).numpy()
        classifier.train()
        seen["attention"] = found.numpy()
        return found

    monkeypatch.setattr(objective, "logits_by_row", keep)
    run_trial(shared, Task(0, {}))
    np.testing.assert_allclose(seen["attention"][:20], seen["alone"], atol=1e-4)

    ngrams = fit_ngrams(WholeTexts(shared.data.train, validation), 2, shared.params)
    assert ngrams is not None
    with torch.inference_mode():
        alone = torch.cat([ngrams(TextBatches(validation)[[row]][0]) for row in range(20)]).numpy()
    np.testing.assert_allclose(shared.data.ngrams.logits[:20], alone, atol=1e-5)
    assert shared.data.ngrams.logits.dtype == np.float32
    assert shared.data.ngrams.logits.shape == (len(validation), 2)


def joined_by_hand(shared: Shared, point: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Outcome, dict[str, Any]]:
    """A trial, and the report on the joint model of its attention part, as kept, and of n-grams fitted on the same rows."""
    weights: list[dict[str, torch.Tensor]] = []
    modules = []

    def train(module: Any, data: TextDataModule, *, report: Any, **others: Any) -> None:
        modules.append(module)

        def keep(entry: dict[str, float]) -> None:
            weights.append({name: value.clone() for name, value in module.classifier.state_dict().items()})
            report(entry)

        fit(module, data, report=keep, **others)

    monkeypatch.setattr(objective, "fit", train)
    outcome = run_trial(shared, Task(0, point))
    best = min(range(len(outcome.curve)), key=lambda number: outcome.curve[number][KEPT_BY])
    classifier = modules[0].classifier.eval()
    classifier.load_state_dict(weights[best])
    data, knobs = shared.data, shared.params.at(point)
    model = JointClassifier(fit_ngrams(WholeTexts(data.train, data.validation), 2, knobs), classifier)
    return outcome, join(model, data.validation, shared.class_rows)


@pytest.mark.parametrize("max_order", [2, 0])
def test_the_score_is_that_of_the_joint_model_built_by_hand(
    reviews: Slice, monkeypatch: pytest.MonkeyPatch, max_order: int
) -> None:
    changed = {"tune__objective": "negative_log_likelihood", "tune__max_epochs": 3, "ngrams__max_order": max_order}
    shared = shared_with(reviews, **changed)
    outcome, report = joined_by_hand(shared, {"training.learning_rate": 0.02}, monkeypatch)
    kept = min(outcome.curve, key=lambda entry: entry[KEPT_BY])
    assert kept is not outcome.curve[-1], "else the test would not notice if the last evaluation was scored"
    assert outcome.values == (kept["joint_validation_loss"],)
    assert decode_rows(outcome.row_scores)[0].mean() == pytest.approx(kept["joint_validation_loss"], abs=1e-3)
    assert kept["joint_validation_loss"] == pytest.approx(report["validation_nll"]["after"], abs=2e-5)
    assert kept["joint_validation_accuracy"] == pytest.approx(report["validation_accuracy"], abs=1e-6)
    assert ("ngrams" in report) == bool(max_order)
    assert (shared.data.ngrams is None) == (max_order == 0)
    if max_order:
        assert kept["joint_validation_accuracy"] != kept["validation_accuracy"]
        assert report["ngrams"]["weight"] > 0
    else:
        assert kept["joint_validation_accuracy"] == pytest.approx(kept["validation_accuracy"])
        # The latter has the prior of the temperature too.
        assert kept["joint_validation_loss"] <= kept[KEPT_BY]


def test_a_repetition_is_another_training_of_the_same_point(reviews: Slice) -> None:
    shared = shared_with(reviews)
    first, again, other = (run_trial(shared, Task(0, {}, repeat=repeat)).curve for repeat in (0, 0, 1))
    assert first == again
    assert [entry["train_loss"] for entry in first] != [entry["train_loss"] for entry in other]


def test_a_pruned_trial_reports_no_rows(reviews: Slice) -> None:
    shared = shared_with(reviews, tune__max_epochs=2)
    outcome = run_trial(shared, Task(0, {}, limits={0.25: 2.0, 0.5: 2.0}))
    assert (outcome.state, outcome.row_scores) == ("pruned", "")
