"""The gate: what it promotes is proven on the very same rows, and whatever it cannot compute it refuses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import HeadwayError
from headway.evaluation.predictions import Predictions
from headway.params import GateParams, Params
from headway.promotion import checks
from headway.promotion import gate as gate_module
from headway.promotion.alpha_spending import significance
from headway.promotion.check import Check
from headway.promotion.gate import Costs, GateInput, GateResult
from headway.serving.latency import MachineLoad

CLASSES = ("negative", "positive")
SEED = 1


#: Margins of the other checks, so wide that they fail only in the test that narrows them.
WIDE = {"macro_f1_margin": 0.99, "nll_margin": 100.0, "calibration_margin": 0.99, "minimum_gain": 0.0, "min_slice_rows": 50}
CHAMPION_CHECKS = ["same_labels", "better_than_champion", "macro_f1", "negative_log_likelihood", "calibration", "slices"]
EVERY_CHECK = ["enough_test_rows", "proper_probabilities", "no_worse_than_baseline", *CHAMPION_CHECKS, "power"]


@pytest.fixture(scope="module")
def shipped(params: Params) -> GateParams:
    """The project's own policy on predictions alone, with fewer resamples, which is all that costs time."""
    return params.override({"gate.bootstrap_samples": 400, "gate.max_latency_ms": 0.0, "gate.max_size_mb": 0.0}).gate


@pytest.fixture(scope="module")
def gate(shipped: GateParams) -> GateParams:
    """The same, asking for accuracy alone."""
    return shipped.model_copy(update={"policy": "superior", **WIDE})


@pytest.fixture(scope="module")
def non_inferior(gate: GateParams) -> GateParams:
    return gate.model_copy(update={"policy": "non_inferior"})


def decide(
    candidate: Predictions,
    baseline: Predictions | HeadwayError,
    champion: Predictions | HeadwayError | None,
    policy: GateParams,
    seed: int,
    **more: Any,
) -> GateResult:
    """The gate's result, with further fields of its input by name."""
    return gate_module.decide(GateInput(candidate, baseline, champion, **more), policy, seed)


def predictions(correct: np.ndarray, classes: tuple[str, ...] = CLASSES) -> Predictions:
    """Of a model that is right where ``correct`` is True; labels alternate."""
    labels = np.arange(len(correct)) % len(classes)
    predicted = np.where(correct, labels, (labels + 1) % len(classes))
    probabilities = np.full((len(correct), len(classes)), 0.2 / (len(classes) - 1), dtype=np.float32)
    probabilities[np.arange(len(correct)), predicted] = 0.8
    return Predictions([f"row {index}" for index in range(len(correct))], labels, probabilities, classes)


def right(share: float, rows: int = 400) -> Predictions:
    """Right on the first ``share`` of the rows."""
    return predictions(np.arange(rows) < round(share * rows))


def changed(given_predictions: Predictions, **changes: Any) -> Predictions:
    return Predictions(**{**vars(given_predictions), **changes})


def with_nan(given_predictions: Predictions) -> Predictions:
    probabilities = given_predictions.probabilities.copy()
    probabilities[7, 0] = np.nan
    return changed(given_predictions, probabilities=probabilities)


def unsure(given_predictions: Predictions, seed: int) -> Predictions:
    """The same likeliest classes, each row with another probability."""
    probabilities = given_predictions.probabilities ** np.random.default_rng(seed).uniform(
        0.2, 3, (len(given_predictions.ids), 1)
    )
    return changed(given_predictions, probabilities=probabilities / probabilities.sum(axis=1, keepdims=True))


def lucky(wins: int, losses: int, rows: int = 400) -> tuple[Predictions, Predictions, Predictions]:
    """Candidate, baseline and champion: only the candidate is correct on ``wins`` rows, only the champion on ``losses``."""
    row = np.arange(rows)
    candidate, champion = row >= losses, (row < losses) | (row >= losses + wins)
    return predictions(candidate), right(0.5, rows), predictions(champion)


def check(result: GateResult, name: str) -> Check:
    (found,) = [check for check in result.checks if check.name == name]
    return found


def failed(result: GateResult) -> list[str]:
    return [check.name for check in result.checks if not check.passed]


def reasons(result: GateResult) -> list[str]:
    """Why it refuses; several checks may fail for one reason."""
    return list(dict.fromkeys(check.explanation for check in result.checks if not check.passed))


def answers(draw: st.DrawFn, rows: int) -> np.ndarray:
    """Where a model is right: on any share of the rows, scattered."""
    share, seed = draw(st.sampled_from([0.0, 0.3, 0.5, 0.8, 0.9, 0.97, 1.0])), draw(st.integers(0, 10_000))
    return np.random.default_rng(seed).random(rows) < share


@st.composite
def one_model(draw: st.DrawFn) -> np.ndarray:
    return answers(draw, draw(st.integers(100, 600)))


@st.composite
def two_models(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Where each is right, of the same rows; the second may resemble the first."""
    first = answers(draw, draw(st.integers(100, 600)))
    second = answers(draw, len(first))
    if draw(st.booleans()):
        second = first ^ (np.random.default_rng(draw(st.integers(0, 10_000))).random(len(first)) < 0.05)
    return first, second


seeds = st.integers(0, 1000)

# Against itself.


@settings(max_examples=60)
@given(one_model(), seeds, st.integers(0, 200))
def test_a_model_is_never_superior_to_itself(gate: GateParams, correct: np.ndarray, seed: int, before: int) -> None:
    model = predictions(correct)
    result = decide(model, model, model, gate, seed, earlier_looks=before)
    assert not result.promotes
    assert failed(result) == ["better_than_champion"]


@settings(max_examples=60)
@given(one_model(), st.floats(1e-6, 0.5), seeds, st.integers(0, 200))
def test_a_model_is_always_non_inferior_to_itself(
    shipped: GateParams, correct: np.ndarray, margin: float, seed: int, before: int
) -> None:
    model = predictions(correct)
    strict = {
        "macro_f1_margin": 0.0,
        "nll_margin": 0.0,
        "calibration_margin": 0.0,
        "slice_margin": 0.0,
        "min_slice_rows": 10,
    }
    policy = shipped.model_copy(update={"policy": "non_inferior", "champion_margin": margin, **strict})
    halves = {"first half": np.arange(len(correct)) < len(correct) / 2}
    result = decide(model, model, model, policy, seed, slices=halves, earlier_looks=before)
    assert result.promotes
    measured = check(result, "no_worse_than_champion")
    assert (measured.value, measured.low, measured.high, measured.threshold) == (0, 0, 0, -margin)


def test_a_margin_of_nothing_demands_to_be_better(non_inferior: GateParams) -> None:
    policy = non_inferior.model_copy(update={"champion_margin": 0.0})
    assert not decide(right(0.9), right(0.5), right(0.9), policy, SEED).promotes
    assert decide(right(0.9), right(0.5), right(0.8), policy, SEED).promotes


# Against others.


@settings(max_examples=100)
@given(two_models(), st.floats(0, 1), st.sampled_from(["superior", "non_inferior"]), st.floats(0.01, 0.99), seeds)
def test_a_model_that_is_worse_by_the_margin_never_passes(
    gate: GateParams, models: tuple[np.ndarray, np.ndarray], share: float, policy: str, confidence: float, seed: int
) -> None:
    """This holds for every draw of test rows, because it is about the observed difference, not the true one."""
    candidate, champion = sorted(models, key=lambda correct: int(correct.sum()))
    margin = share * (champion.sum() - candidate.sum()) / len(candidate)
    chosen = gate.model_copy(update={"policy": policy, "champion_margin": margin, "confidence": confidence})
    result = decide(predictions(candidate), predictions(candidate), predictions(champion), chosen, seed)
    name = "better_than_champion" if policy == "superior" else "no_worse_than_champion"
    assert not check(result, name).passed
    assert not result.promotes


@settings(max_examples=40)
@given(two_models(), seeds)
def test_the_order_of_the_rows_is_irrelevant(shipped: GateParams, models: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    policy = shipped.model_copy(update={"min_slice_rows": 20})
    candidate, champion = (unsure(predictions(correct), seed) for correct in models)
    baseline = predictions(models[0] ^ models[1])
    masks = {"some": np.random.default_rng(seed).random(len(models[0])) < 0.5, "all": np.ones(len(models[0]), dtype=bool)}
    random = np.random.default_rng(seed)
    orders = [random.permutation(len(models[0])) for _ in range(3)]
    shuffled = [p.take(order) for p, order in zip((candidate, baseline, champion), orders, strict=True)]
    masks_shuffled = {name: mask[orders[0]] for name, mask in masks.items()}
    assert decide(*shuffled, policy, SEED, slices=masks_shuffled) == decide(
        candidate, baseline, champion, policy, SEED, slices=masks
    )


@settings(max_examples=30)
@given(st.permutations([0, 1, 2]), two_models())
def test_models_that_number_the_same_labels_differently_are_compared_by_name(
    shipped: GateParams, numbering: list[int], models: tuple[np.ndarray, np.ndarray]
) -> None:
    names = ("bad", "good", "mixed")
    candidate, champion = (predictions(correct, names) for correct in models)
    renumbered = changed(
        champion,
        labels=np.argsort(numbering)[champion.labels],
        probabilities=champion.probabilities[:, numbering],
        classes=tuple(names[index] for index in numbering),
    )
    result = decide(candidate, candidate, champion, shipped, SEED)
    assert decide(candidate, candidate, renumbered, shipped, SEED) == result
    other_way_round = decide(renumbered, renumbered, candidate, shipped, SEED)
    assert other_way_round == decide(champion, champion, candidate, shipped, SEED)


@settings(max_examples=30)
@given(st.permutations([0, 1, 2]).filter(lambda order: order != [0, 1, 2]), st.sampled_from([0.8, 0.9, 1.0]), seeds)
@pytest.mark.parametrize("policy", ["superior", "non_inferior"])
def test_a_model_that_means_another_label_by_each_name_is_caught(
    shipped: GateParams, policy: str, names: list[int], share: float, seed: int
) -> None:
    """Its probabilities are as good as ever, under permuted names."""
    correct = np.random.default_rng(seed).random(600) < share
    champion = predictions(correct, ("bad", "good", "mixed"))
    candidate = changed(champion, probabilities=champion.probabilities[:, names])
    result = decide(candidate, champion, champion, shipped.model_copy(update={"policy": policy}), SEED)
    assert {"no_worse_than_baseline", "macro_f1", "negative_log_likelihood"} < set(failed(result))


def test_a_model_that_is_surely_better_is_promoted_and_one_that_may_be_is_not(gate: GateParams) -> None:
    sure = decide(right(0.9), right(0.8), right(0.8), gate, SEED)
    assert sure.promotes
    measured = check(sure, "better_than_champion")
    assert measured.value == pytest.approx(0.1)
    assert 0 < measured.low < 0.1 < measured.high < 0.2
    assert (measured.details["only_candidate_correct"], measured.details["only_opponent_correct"]) == (40, 0)
    # One more right answer, by winning 21 rows and losing 20: that is chance.
    assert failed(decide(*lucky(21, 20), gate, SEED)) == ["better_than_champion"]


def test_the_tenth_look_at_a_test_set_needs_more_evidence_than_the_first(gate: GateParams) -> None:
    models = lucky(40, 21)  # p = 0.010 one-sided
    assert decide(*models, gate, SEED).promotes
    later = decide(*models, gate, SEED, earlier_looks=9)
    assert failed(later) == ["better_than_champion"]
    found = check(later, "better_than_champion")
    assert (found.details["look"], found.details["significance"]) == (10, significance(10, 1 - gate.confidence))
    assert "look 10 at this test set, tested at level 0.000926 (new test rows restart the count)" in found.explanation
    assert check(later, "power").value > check(decide(*models, gate, SEED), "power").value


def test_looks_are_counted_for_non_inferior_candidates_too(non_inferior: GateParams) -> None:
    policy = non_inferior.model_copy(update={"champion_margin": 0.02})
    models = lucky(20, 20, rows=1000)
    assert decide(*models, policy, SEED).promotes
    assert failed(decide(*models, policy, SEED, earlier_looks=99)) == ["no_worse_than_champion"]


def test_a_first_promotion_is_tested_at_the_interval_and_later_looks_need_more_evidence(gate: GateParams) -> None:
    policy = gate.model_copy(update={"baseline_margin": 0.03})
    candidate, _, baseline = lucky(20, 20, rows=1000)
    first, later, last = (decide(candidate, baseline, None, policy, SEED, earlier_looks=before) for before in (0, 1, 99))
    found = [check(one, "no_worse_than_baseline") for one in (first, later, last)]
    assert [one.passed for one in found] == [True, True, False]
    assert found[0].details["significance"] == pytest.approx(0.025)
    assert "(95% interval −1.20 to +1.20)" in found[0].explanation
    assert "this test set" not in found[0].explanation
    assert found[2].details["look"] == 100
    assert found[2].low < found[1].low < found[0].low
    assert "; look 2 at this test set, tested at level 0.00545 (new test rows" in found[1].explanation
    assert check(last, "power").value > check(first, "power").value
    with_champion = decide(candidate, baseline, baseline, policy, SEED, earlier_looks=99)
    assert check(with_champion, "no_worse_than_baseline").low == found[0].low, "with a champion, it decides nothing"


def test_a_gain_below_the_minimum_refuses_however_sure_it_is(gate: GateParams) -> None:
    models = lucky(40, 0, rows=1000)
    assert decide(*models, gate.model_copy(update={"minimum_gain": 0.04}), SEED).promotes
    result = decide(*models, gate.model_copy(update={"minimum_gain": 0.041}), SEED)
    assert failed(result) == ["better_than_champion"]


# Thresholds are real: each check can fail, alone.


def test_the_first_champion_has_only_the_baseline_to_beat(gate: GateParams) -> None:
    result = decide(right(0.8), right(0.8), None, gate, SEED)
    assert result.promotes
    assert [check.name for check in result.checks] == [name for name in EVERY_CHECK if name not in CHAMPION_CHECKS]


def test_too_few_rows_refuse(gate: GateParams) -> None:
    enough, few = right(0.8, gate.min_test_rows), right(0.8, gate.min_test_rows - 1)
    assert decide(enough, enough, None, gate, SEED).promotes
    result = decide(few, few, None, gate, SEED)
    assert failed(result) == ["enough_test_rows"]
    assert reasons(result) == [f"{gate.min_test_rows - 1} test rows, at least {gate.min_test_rows} required"]


def test_no_rows_at_all_refuse(gate: GateParams) -> None:
    nothing = predictions(np.zeros(0, dtype=bool))
    result = decide(nothing, nothing, nothing, gate, SEED)
    assert not result.promotes
    assert {"enough_test_rows", "no_worse_than_baseline", "better_than_champion"} <= set(failed(result))


@pytest.mark.parametrize("margin", [0.02, 0.05, 0.2])
def test_losing_more_than_the_margin_to_the_baseline_refuses(gate: GateParams, margin: float) -> None:
    policy = gate.model_copy(update={"baseline_margin": margin})
    baseline = right(0.9, 2000)
    assert decide(right(0.9, 2000), baseline, None, policy, SEED).promotes
    assert failed(decide(right(0.9 - 1.1 * margin, 2000), baseline, None, policy, SEED)) == ["no_worse_than_baseline"]
    # By less than the margin, and yet the lower bound is below it.
    assert failed(decide(right(0.9 - 0.95 * margin, 2000), baseline, None, policy, SEED)) == ["no_worse_than_baseline"]
    assert decide(right(0.9 - 0.3 * margin, 2000), baseline, None, policy, SEED).promotes


def test_a_non_inferior_model_may_lose_less_than_the_margin(non_inferior: GateParams) -> None:
    policy = non_inferior.model_copy(update={"champion_margin": 0.05})
    champion, baseline = right(0.9, 2000), right(0.5, 2000)
    assert decide(right(0.88, 2000), baseline, champion, policy, SEED).promotes
    assert failed(decide(right(0.855, 2000), baseline, champion, policy, SEED)) == ["no_worse_than_champion"]


@pytest.mark.parametrize("row", [[0.6, 0.6], [0.1, 0.1], [1.2, -0.2], [np.inf, 0.0], [np.nan, np.nan]])
def test_a_single_row_of_improper_probabilities_refuses(gate: GateParams, row: list[float]) -> None:
    candidate = right(0.9)
    probabilities = candidate.probabilities.copy()
    probabilities[5] = row
    result = decide(changed(candidate, probabilities=probabilities), right(0.5), None, gate, SEED)
    assert "proper_probabilities" in failed(result)
    assert check(result, "proper_probabilities").value == 1


@pytest.mark.parametrize("margin", ["macro_f1_margin", "nll_margin", "calibration_margin"])
def test_each_margin_against_the_champion_refuses_alone(non_inferior: GateParams, margin: str) -> None:
    """Of two models with equal answers, one is surer than it is right; or gives up a rare class for a frequent one."""
    policy = non_inferior.model_copy(update={margin: 0.02, "champion_margin": 0.05})
    if margin == "macro_f1_margin":
        candidate, champion = gives_up_a_class(10), gives_up_a_class(0)
    else:
        champion = right(0.8, 1000)
        candidate = changed(champion, probabilities=np.where(champion.probabilities > 0.5, 0.99, 0.01))
    refused = decide(candidate, champion, champion, policy, SEED)
    assert failed(refused) == [{"nll_margin": "negative_log_likelihood"}.get(margin, margin.removesuffix("_margin"))]
    assert decide(champion, candidate, candidate, policy, SEED).promotes


@pytest.mark.parametrize(("margin", "name"), [("macro_f1_margin", "macro_f1"), ("nll_margin", "negative_log_likelihood")])
def test_a_margin_is_held_against_the_worse_end_of_the_interval(non_inferior: GateParams, margin: str, name: str) -> None:
    """Of a model that is as good: the more rows it wins and loses, the less sure that is."""
    models = lucky(30, 30)
    measured = check(decide(*models, non_inferior, SEED), name)
    assert measured.value == pytest.approx(0, abs=1e-3)
    end = -measured.low if name == "macro_f1" else measured.high
    assert end > 0.02
    policy = non_inferior.model_copy(update={"champion_margin": 0.2})
    assert decide(*models, policy.model_copy(update={margin: 1.01 * end}), SEED).promotes
    assert failed(decide(*models, policy.model_copy(update={margin: 0.99 * end}), SEED)) == [name]


def gives_up_a_class(missed: int) -> Predictions:
    """Wrong on ``missed`` of the 20 rows that the rarer of two classes has among 1,000, right elsewhere."""
    labels = (np.arange(1000) < 20).astype(int)
    guesses = np.where(np.arange(1000) < missed, 0, labels)
    return Predictions([f"row {index}" for index in range(1000)], labels, np.eye(2, dtype=np.float32)[guesses], CLASSES)


def test_a_slice_on_which_the_candidate_is_surely_worse_refuses(gate: GateParams) -> None:
    models = lucky(100, 20, rows=1000)
    row = np.arange(1000)
    masks = {"bad": (row < 20) | (row >= 960), "good": (row >= 20) & (row < 960), "too few": row < 20}
    result = decide(*models, gate, SEED, slices=masks)
    assert failed(result) == ["slices"]
    found = check(result, "slices")
    bad, good = found.details["slices"]
    assert (bad["name"], bad["rows"], bad["only_candidate_correct"], bad["only_champion_correct"]) == ("bad", 60, 0, 20)
    assert bad["difference"] == pytest.approx(-1 / 3)
    assert (good["name"], good["rows"], good["only_candidate_correct"], good["only_champion_correct"]) == (
        "good",
        940,
        100,
        0,
    )
    assert found.value == bad["p_value"] < 0.05 < good["p_value"]
    assert "1 of 2 slices" in found.explanation
    assert "'bad'" in found.explanation
    assert decide(*models, gate.model_copy(update={"slice_margin": 0.3}), SEED, slices=masks).promotes


def test_slices_are_corrected_for_how_many_they_are(gate: GateParams) -> None:
    """A loss that would be sure enough on the only slice is chance on one of forty."""
    models = lucky(200, 8, rows=1000)
    bad = {"bad": (np.arange(1000) < 8) | (np.arange(1000) >= 942)}
    policy = gate.model_copy(update={"slice_margin": 0.0})
    assert failed(decide(*models, policy, SEED, slices=bad)) == ["slices"]
    others = {f"other {index}": np.arange(1000) >= 208 + index for index in range(39)}
    assert decide(*models, policy, SEED, slices={**bad, **others}).promotes


def test_slices_with_too_few_rows_are_reported_and_do_not_refuse(gate: GateParams) -> None:
    result = decide(*lucky(40, 0), gate, SEED, slices={"few": np.arange(400) < 49})
    assert result.promotes
    enough = decide(*lucky(40, 0), gate, SEED, slices={"few": np.arange(400) < 49, "enough": np.arange(400) < 50})
    assert [one["name"] for one in check(enough, "slices").details["slices"]] == ["enough"]
    assert "no slice has 50 test rows" in check(result, "slices").explanation
    assert check(result, "slices").value is None, "nothing was compared"


@pytest.mark.parametrize("mask", [np.ones(399, dtype=bool), np.ones(400), np.ones((400, 1), dtype=bool)])
def test_a_slice_that_is_no_mask_over_the_rows_refuses(gate: GateParams, mask: np.ndarray) -> None:
    result = decide(*lucky(40, 0), gate, SEED, slices={"odd": mask})
    assert failed(result) == ["slices"]
    assert check(result, "slices").value is None


def test_too_little_power_for_the_required_gain_refuses(gate: GateParams) -> None:
    models = lucky(40, 21)
    least = check(decide(*models, gate, SEED), "power").value
    assert least is not None
    assert 0.03 < least < 0.08
    assert decide(*models, gate.model_copy(update={"detectable_gain": 1.01 * least}), SEED).promotes
    result = decide(*models, gate.model_copy(update={"detectable_gain": 0.99 * least}), SEED)
    assert failed(result) == ["power"]


def test_a_check_that_raises_refuses_and_the_others_are_still_run(gate: GateParams, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> Check:
        raise ZeroDivisionError("division by zero")

    sound = decide(*lucky(40, 0), gate, SEED)
    monkeypatch.setattr(checks, "macro_f1", breaks)
    result = decide(*lucky(40, 0), gate, SEED)
    assert failed(result) == ["macro_f1"]
    assert [one.name for one in result.checks] == [one.name for one in sound.checks]
    assert check(result, "macro_f1").explanation.endswith(": ZeroDivisionError: division by zero")


def test_power_is_that_of_the_accuracy_check(gate: GateParams) -> None:
    candidate, baseline, champion = lucky(40, 21)
    asked = {
        "superior": decide(candidate, baseline, champion, gate, SEED),
        "more": decide(candidate, baseline, champion, gate.model_copy(update={"minimum_gain": 0.2}), SEED),
        "non_inferior": decide(
            candidate, baseline, champion, gate.model_copy(update={"policy": "non_inferior", "champion_margin": 0.03}), SEED
        ),
    }
    found = {name: check(result, "power") for name, result in asked.items()}
    shown = found["superior"].value
    assert (
        f"has 80% power to pass a model whose true gain is +{100 * shown:.2f} points or more"
        in found["superior"].explanation
    )
    assert 0.2 < found["more"].value < 0.25, "what has to be seen, and what chance takes off it"
    assert found["non_inferior"].value == pytest.approx(shown - 0.03, abs=0.002)
    assert "(limit −3.00 points)" in found["non_inferior"].explanation


# What it costs.

COSTS = Costs(candidate_ms=20.0, candidate_bytes=80_000_000, champion_ms=10.0, champion_bytes=20_000_000)


@pytest.mark.parametrize(
    ("name", "limits", "threshold"),
    [
        ("latency", {"max_latency_ms": 20.0}, None),
        ("latency", {"max_latency_ms": 19.9}, 19.9),
        ("latency", {"max_latency_ratio": 2.0}, None),
        ("latency", {"max_latency_ratio": 1.5}, 15.0),
        ("latency", {"max_latency_ms": 17.0, "max_latency_ratio": 1.9}, 17.0),
        ("latency", {"max_latency_ms": 1000.0, "max_latency_ratio": 1.9}, 19.0),
        ("size", {"max_size_mb": 80.0}, None),
        ("size", {"max_size_mb": 79.0}, 79.0),
        ("size", {"max_size_ratio": 4.0}, None),
        ("size", {"max_size_ratio": 3.0}, 60.0),
    ],
)
def test_a_cost_above_its_budget_refuses_and_every_cost_is_reported(
    gate: GateParams, name: str, limits: dict[str, float], threshold: float | None
) -> None:
    result = decide(*lucky(40, 0), gate.model_copy(update=limits), SEED, costs=COSTS)
    assert failed(result) == ([] if threshold is None else [name])
    assert [one.name for one in result.checks] == [*EVERY_CHECK, "latency", "size"]
    if threshold is not None:
        assert check(result, name).threshold == pytest.approx(threshold)


BUSY = MachineLoad(average=9.0, cores=2)


def latency_check(candidate: float, champion: float | None, policy: GateParams, **limits: float) -> Check:
    costs = Costs(candidate, 1, champion, None if champion is None else 1, BUSY)
    opponent = None if champion is None else right(0.8)
    result = decide(right(0.9), right(0.8), opponent, policy.model_copy(update=limits), SEED, costs=costs)
    return next(one for one in result.checks if one.name == "latency")


@pytest.mark.parametrize(
    ("candidate", "champion", "limits", "passes"),
    [
        pytest.param(620.0, 600.0, {"max_latency_ms": 500.0}, True, id="the champion exceeds the limit too"),
        pytest.param(499.0, 600.0, {"max_latency_ms": 500.0}, True, id="only the champion exceeds it"),
        pytest.param(620.0, 499.0, {"max_latency_ms": 500.0}, False, id="only the candidate exceeds it"),
        pytest.param(620.0, 500.0, {"max_latency_ms": 500.0}, False, id="the champion is just within it"),
        pytest.param(1201.0, 600.0, {"max_latency_ms": 500.0}, False, id="more than twice the champion's"),
        pytest.param(780.0, 600.0, {"max_latency_ms": 500.0, "max_latency_ratio": 1.2}, False, id="more than the ratio"),
        pytest.param(1700.0, 600.0, {"max_latency_ms": 500.0, "max_latency_ratio": 3.0}, True, id="within the ratio"),
        pytest.param(620.0, None, {"max_latency_ms": 500.0}, False, id="no champion"),
        pytest.param(620.0, np.nan, {"max_latency_ms": 500.0}, False, id="the champion's no number"),
    ],
)
def test_the_limit_in_milliseconds_counts_only_if_the_champion_meets_it_now(
    gate: GateParams, candidate: float, champion: float | None, limits: dict[str, float], passes: bool
) -> None:
    assert latency_check(candidate, champion, gate, **limits).passed == passes


def test_the_latency_check_records_both_times_their_ratio_and_the_load(gate: GateParams) -> None:
    check = latency_check(660.0, 600.0, gate, max_latency_ms=500.0)
    assert (check.value, check.threshold) == (660.0, pytest.approx(1200.0))
    expected = {"champion": 600.0, "ratio": pytest.approx(1.1), "load_average": 9.0, "cores": 2}
    assert check.details == expected
    assert "; the limit of 500.0 ms is not applied, because the champion exceeds it now too" in check.explanation
    assert "busy" not in check.explanation


def test_a_first_candidate_that_is_too_slow_on_a_busy_machine_is_advised_to_run_again(gate: GateParams) -> None:
    assert "run again" in latency_check(620.0, None, gate, max_latency_ms=500.0).explanation
    assert "run again" not in latency_check(420.0, None, gate, max_latency_ms=500.0).explanation


@pytest.mark.parametrize(
    ("costs", "limits", "refusing"),
    [
        pytest.param(None, {}, [], id="no limit"),
        pytest.param(None, {"max_latency_ms": 50.0, "max_size_ratio": 3.0}, ["latency", "size"], id="limit"),
        pytest.param(
            Costs(1.0, 1), {"max_latency_ratio": 2.0, "max_size_ratio": 2.0}, ["latency", "size"], id="candidate only"
        ),
        pytest.param(Costs(np.nan, 1, 1.0, 1), {}, ["latency"], id="no number"),
        pytest.param(Costs(np.nan, 1, 1.0, 1), {"max_latency_ms": 5.0}, ["latency"], id="no number within a limit"),
        pytest.param(Costs(1.0, 1, np.nan, 1), {"max_latency_ratio": 2.0}, ["latency"], id="the champion's no number"),
    ],
)
def test_a_cost_that_was_not_measured_refuses_where_it_is_limited(
    gate: GateParams, costs: Costs | None, limits: dict[str, float], refusing: list[str]
) -> None:
    assert failed(decide(*lucky(40, 0), gate.model_copy(update=limits), SEED, costs=costs)) == refusing


def test_the_first_champion_is_held_against_absolute_limits_only(gate: GateParams) -> None:
    policy = gate.model_copy(update={"max_latency_ratio": 1.0, "max_size_ratio": 1.0, "max_size_mb": 80.0})
    assert decide(right(0.9), right(0.8), None, policy, SEED, costs=Costs(20.0, 80_000_000)).promotes
    assert failed(decide(right(0.9), right(0.8), None, policy, SEED, costs=Costs(20.0, 80_000_001))) == ["size"]


# What cannot be computed refuses, and the other checks are still reported.


#: The checks that compare champion and candidate row by row.
SIDE_BY_SIDE = [*CHAMPION_CHECKS[1:], "power"]


@pytest.mark.parametrize(
    ("who", "refusing"),
    [
        ("candidate", ["proper_probabilities", "no_worse_than_baseline", *SIDE_BY_SIDE]),
        ("baseline", ["no_worse_than_baseline"]),
        ("champion", SIDE_BY_SIDE),
    ],
)
def test_a_probability_that_is_no_number_refuses_whosever_it_is(gate: GateParams, who: str, refusing: list[str]) -> None:
    models = {"candidate": right(0.9), "baseline": right(0.5), "champion": right(0.5)}
    assert decide(**models, policy=gate, seed=SEED).promotes
    models[who] = with_nan(models[who])
    result = decide(**models, policy=gate, seed=SEED)
    assert not result.promotes
    assert failed(result) == refusing
    assert [check.name for check in result.checks] == EVERY_CHECK


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(lambda p: p.take(np.arange(399)), id="one less"),
        pytest.param(lambda p: changed(p, ids=[*p.ids[:-1], "another"]), id="another"),
        pytest.param(lambda p: changed(p, ids=[*p.ids[:-1], p.ids[0]]), id="one twice"),
    ],
)
@pytest.mark.parametrize("who", ["candidate", "champion"])
def test_other_rows_refuse(gate: GateParams, rows: Any, who: str) -> None:
    models = {"candidate": right(0.9), "baseline": right(0.5), "champion": right(0.5)}
    models[who] = rows(models[who])
    result = decide(**models, policy=gate, seed=SEED)
    assert "better_than_champion" in failed(result)
    refusal = check(result, "better_than_champion")
    assert (refusal.value, refusal.low) == (None, None)
    assert "not scored on exactly the same rows" in refusal.explanation


def test_the_same_row_twice_in_both_models_refuses(gate: GateParams) -> None:
    model = right(0.9)
    doubled = changed(model, ids=[*model.ids[:-1], model.ids[0]])
    result = decide(doubled, right(0.5), doubled, gate.model_copy(update={"policy": "non_inferior"}), SEED)
    assert {"no_worse_than_baseline", "no_worse_than_champion"} < set(failed(result))


# Labels.


def test_renamed_labels_refuse(gate: GateParams) -> None:
    champion = changed(right(0.5), classes=("negative", "favourable"))
    result = decide(right(0.9), right(0.5), champion, gate, SEED)
    assert failed(result) == ["same_labels", *SIDE_BY_SIDE]
    assert "labels favourable are missing or renamed" in reasons(result)[0]
    assert "not scored against the same true labels" in reasons(result)[1]


def test_a_removed_label_refuses_and_the_rest_is_compared_all_the_same(gate: GateParams) -> None:
    champion = predictions(np.ones(600, dtype=bool), ("a", "b", "c"))
    two = changed(champion, labels=np.where(champion.labels < 2, champion.labels, -1), classes=("a", "b"))
    two = changed(two, probabilities=np.eye(2, dtype=np.float32)[np.maximum(two.labels, 0)])
    result = decide(two, two, champion, gate, SEED)
    assert failed(result) == ["same_labels", "better_than_champion"]
    assert check(result, "same_labels").details == {"removed": ["c"], "added": []}
    assert check(result, "better_than_champion").value == pytest.approx(-1 / 3)


def test_rows_of_an_added_label_count_as_errors_of_the_champion(gate: GateParams) -> None:
    candidate = predictions(np.ones(600, dtype=bool), ("a", "b", "c"))
    kept = np.array([0, 2])  # the champion knows a and c, which it numbers 0 and 1
    labels = np.array([0, -1, 1])[candidate.labels]
    probabilities = np.eye(2, dtype=np.float32)[np.maximum(labels, 0)]
    champion = changed(candidate, labels=labels, probabilities=probabilities, classes=tuple("abc"[index] for index in kept))
    result = decide(candidate, candidate, champion, gate, SEED)
    assert result.promotes
    assert check(result, "same_labels").details == {"removed": [], "added": ["b"]}
    assert check(result, "better_than_champion").details["only_candidate_correct"] == 200
    assert check(result, "better_than_champion").details["only_opponent_correct"] == 0
    # Of the classes a, b and c the champion's F1 is 2/3 (b's rows are called a), 0 and 1.
    assert check(result, "macro_f1").value == pytest.approx(1 - 5 / 9)
    # How likely b is, the champion cannot say: both are compared on the other rows, where they agree.
    assert check(result, "negative_log_likelihood").value == pytest.approx(np.log(0.8) * -1, abs=1e-6)


def test_a_champion_that_knows_no_label_of_the_rows_refuses(gate: GateParams) -> None:
    champion = Predictions(right(0.5).ids, np.full(400, -1), right(0.5).probabilities, ("left", "right"))
    result = decide(right(0.9), right(0.5), champion, gate, SEED)
    assert failed(result) == ["same_labels", "negative_log_likelihood", "calibration"]


def test_other_true_labels_refuse(gate: GateParams) -> None:
    champion = right(0.5)
    result = decide(right(0.9), right(0.5), changed(champion, labels=1 - champion.labels), gate, SEED)
    assert failed(result) == SIDE_BY_SIDE
    assert len(reasons(result)) == 1
    assert "not scored against the same true labels" in reasons(result)[0]


def test_a_label_that_a_model_knows_and_yet_does_not_number_refuses(gate: GateParams) -> None:
    champion = right(0.5)
    labels = champion.labels.copy()
    labels[0] = -1
    result = decide(right(0.9), right(0.5), changed(champion, labels=labels), gate, SEED)
    assert failed(result) == SIDE_BY_SIDE


def test_a_baseline_of_other_labels_refuses(gate: GateParams) -> None:
    baseline = changed(right(0.5), classes=("negative", "favourable"))
    result = decide(right(0.9), baseline, None, gate, SEED)
    assert failed(result) == ["no_worse_than_baseline", "power"]
    assert "have different labels: only one knows favourable, positive" in reasons(result)[0]


def test_a_champion_that_could_not_be_scored_refuses_with_its_reason(gate: GateParams) -> None:
    champion = HeadwayError("models/champion: its weights were altered")
    result = decide(right(0.9), right(0.5), champion, gate, SEED)
    assert not result.promotes
    assert failed(result) == ["same_labels", *SIDE_BY_SIDE]
    assert len(reasons(result)) == 1
    assert "models/champion: its weights were altered" in reasons(result)[0]
    measured = check(result, "no_worse_than_baseline")
    assert measured.value == pytest.approx(0.4)


def test_every_check_is_reported_even_after_one_fails(gate: GateParams) -> None:
    few = right(0.2, 50)
    result = decide(with_nan(few), right(0.9, 50), right(0.9, 50), gate.model_copy(update={"max_size_mb": 1.0}), SEED)
    asked = [*EVERY_CHECK, "size"]
    assert failed(result) == [name for name in asked if name != "same_labels"]
    assert not result.promotes
    assert [one.name for one in result.checks] == asked
    assert [one.name for one in result.checks if one.passed] == ["same_labels"]


def test_the_checks_of_a_promotion_are_plain_json_with_finite_values(gate: GateParams) -> None:
    masks = {"first": np.arange(400) < 200, "second": np.arange(400) >= 200}
    result = decide(*lucky(50, 15), gate, SEED, slices=masks, costs=COSTS, earlier_looks=2)
    assert result.promotes
    assert [one.name for one in result.checks] == [*EVERY_CHECK, "latency", "size"]
    written = [one.model_dump() for one in result.checks]
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert all(one.value is not None for one in result.checks)
