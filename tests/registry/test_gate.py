"""The gate: what it promotes is proven on the very same rows, and whatever it cannot compute it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headway.errors import HeadwayError
from headway.evaluation.predictions import Predictions
from headway.params import GateParams, Params
from headway.registry.gate import PROMOTE, REFUSE, Check, Decision, accuracy_difference, decide

CLASSES = ("negative", "positive")
SEED = 1


@pytest.fixture(scope="module")
def gate(params: Params) -> GateParams:
    """The project's own policy, with fewer resamples, which is all that costs time."""
    return params.override({"gate.policy": "superior", "gate.bootstrap_samples": 400}).gate


@pytest.fixture(scope="module")
def non_inferior(gate: GateParams) -> GateParams:
    return gate.model_copy(update={"policy": "non_inferior"})


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


def taken(given_predictions: Predictions, order: np.ndarray) -> Predictions:
    """The same rows in another order."""
    return changed(
        given_predictions,
        ids=[given_predictions.ids[index] for index in order],
        labels=given_predictions.labels[order],
        probabilities=given_predictions.probabilities[order],
    )


def with_nan(given_predictions: Predictions) -> Predictions:
    probabilities = given_predictions.probabilities.copy()
    probabilities[7, 0] = np.nan
    return changed(given_predictions, probabilities=probabilities)


def check(decision: Decision, name: str) -> Check:
    (found,) = [check for check in decision.checks if check.name == name]
    return found


def failed(decision: Decision) -> list[str]:
    return [check.name for check in decision.checks if not check.passed]


answers = st.integers(100, 160).flatmap(lambda rows: st.lists(st.booleans(), min_size=rows, max_size=rows)).map(np.array)

# Against itself.


@settings(max_examples=30, deadline=None)
@given(answers, st.integers(0, 1000))
def test_a_model_is_never_superior_to_itself(gate: GateParams, correct: np.ndarray, seed: int) -> None:
    model = predictions(correct)
    decision = decide(model, model, model, gate, seed)
    assert decision.verdict == REFUSE
    assert failed(decision) == ["better_than_champion"]


@settings(max_examples=30, deadline=None)
@given(answers, st.floats(1e-6, 0.5), st.integers(0, 1000))
def test_a_model_is_always_non_inferior_to_itself(
    non_inferior: GateParams, correct: np.ndarray, margin: float, seed: int
) -> None:
    model = predictions(correct)
    policy = non_inferior.model_copy(update={"champion_margin": margin})
    decision = decide(model, model, model, policy, seed)
    assert decision.verdict == PROMOTE
    measured = check(decision, "no_worse_than_champion")
    assert (measured.value, measured.low, measured.high, measured.threshold) == (0, 0, 0, -margin)


def test_a_margin_of_nothing_demands_to_be_better(non_inferior: GateParams) -> None:
    policy = non_inferior.model_copy(update={"champion_margin": 0.0})
    assert not decide(right(0.9), right(0.5), right(0.9), policy, SEED).promotes
    assert decide(right(0.9), right(0.5), right(0.8), policy, SEED).promotes


# Against others.


@settings(max_examples=40, deadline=None)
@given(answers, answers, st.sampled_from(["superior", "non_inferior"]), st.integers(0, 1000))
def test_a_model_that_is_worse_by_the_margin_never_passes(
    gate: GateParams, first: np.ndarray, second: np.ndarray, policy: str, seed: int
) -> None:
    rows = min(len(first), len(second))
    first, second = first[:rows], second[:rows]
    margin = gate.champion_margin if policy == "non_inferior" else 0.0
    if first.mean() - second.mean() > -margin:
        # Worsen the first until it is worse by the margin, and a row more.
        order = np.argsort(~first, kind="stable")
        first = first.copy()
        first[order[: int(np.ceil((first.mean() - second.mean() + margin) * rows)) + 1]] = False
    assume(first.mean() - second.mean() <= -margin)  # unless the second is wrong everywhere, and nothing is worse
    chosen = gate.model_copy(update={"policy": policy})
    decision = decide(predictions(first), predictions(first), predictions(second), chosen, seed)
    assert failed(decision) == [decision.checks[-1].name]


@settings(max_examples=40, deadline=None)
@given(answers, st.data())
def test_the_order_of_the_rows_is_irrelevant(gate: GateParams, correct: np.ndarray, data: st.DataObject) -> None:
    rows = len(correct)
    other = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    orders = [np.random.default_rng(data.draw(st.integers(0, 999))).permutation(rows) for _ in range(3)]
    candidate, baseline, champion = predictions(correct), predictions(other), predictions(~other)
    shuffled = [taken(p, order) for p, order in zip((candidate, baseline, champion), orders, strict=True)]
    assert decide(*shuffled, gate, SEED) == decide(candidate, baseline, champion, gate, SEED)


@settings(max_examples=30, deadline=None)
@given(st.permutations([0, 1, 2]), answers, st.data())
def test_models_that_number_the_same_labels_differently_are_compared_by_name(
    gate: GateParams, numbering: list[int], correct: np.ndarray, data: st.DataObject
) -> None:
    names = ("bad", "good", "mixed")
    rows = len(correct)
    champion = predictions(np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows))), names)
    renumbered = changed(
        champion,
        labels=np.argsort(numbering)[champion.labels],
        probabilities=champion.probabilities[:, numbering],
        classes=tuple(names[index] for index in numbering),
    )
    candidate = predictions(correct, names)
    assert decide(candidate, candidate, renumbered, gate, SEED) == decide(candidate, candidate, champion, gate, SEED)


def test_a_model_that_is_surely_better_is_promoted_and_one_that_may_be_is_not(gate: GateParams) -> None:
    sure = decide(right(0.9), right(0.8), right(0.8), gate, SEED)
    assert sure.promotes
    measured = check(sure, "better_than_champion")
    assert measured.value == pytest.approx(0.1)
    assert 0 < measured.low < 0.1 < measured.high < 0.2
    rows = np.arange(400)
    # One more right answer, by winning 21 rows and losing 20: that is chance.
    lucky = decide(predictions(rows % 20 != 0), right(0.8), predictions((rows + 1) % 20 != 0), gate, SEED)
    assert failed(lucky) == ["better_than_champion"]


def test_the_interval_is_that_of_resampled_rows(gate: GateParams) -> None:
    first, second = right(0.9), right(0.8)
    interval = accuracy_difference(first, second, gate.model_copy(update={"bootstrap_samples": 4000}), SEED)
    differences = first.correct.astype(float) - second.correct
    random = np.random.default_rng(0)
    means = [random.choice(differences, 400).mean() for _ in range(4000)]
    assert interval.low == pytest.approx(np.quantile(means, 0.025), abs=0.004)
    assert interval.high == pytest.approx(np.quantile(means, 0.975), abs=0.004)


# Thresholds are real: each check can fail, alone.


def test_the_first_champion_has_only_the_baseline_to_beat(gate: GateParams) -> None:
    decision = decide(right(0.8), right(0.8), None, gate, SEED)
    assert decision.promotes
    assert [check.name for check in decision.checks] == [
        "enough_test_rows",
        "proper_probabilities",
        "no_worse_than_baseline",
    ]
    assert len(decision.reasons) == 3


def test_too_few_rows_refuse(gate: GateParams) -> None:
    enough, few = right(0.8, gate.min_test_rows), right(0.8, gate.min_test_rows - 1)
    assert decide(enough, enough, None, gate, SEED).promotes
    decision = decide(few, few, None, gate, SEED)
    assert failed(decision) == ["enough_test_rows"]
    assert decision.reasons == [f"{gate.min_test_rows - 1} test rows, at least {gate.min_test_rows} are needed"]


def test_no_rows_at_all_refuse(gate: GateParams) -> None:
    nothing = predictions(np.zeros(0, dtype=bool))
    decision = decide(nothing, nothing, nothing, gate, SEED)
    assert decision.verdict == REFUSE
    assert {"enough_test_rows", "no_worse_than_baseline", "better_than_champion"} <= set(failed(decision))


@pytest.mark.parametrize("margin", [0.02, 0.05, 0.2])
def test_losing_more_than_the_margin_to_the_baseline_refuses(gate: GateParams, margin: float) -> None:
    policy = gate.model_copy(update={"baseline_margin": margin})
    baseline = right(0.9, 2000)
    assert decide(right(0.9, 2000), baseline, None, policy, SEED).promotes
    assert failed(decide(right(0.9 - 1.1 * margin, 2000), baseline, None, policy, SEED)) == ["no_worse_than_baseline"]
    # By less than the margin, and yet the interval's lower end lies below it.
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
    decision = decide(changed(candidate, probabilities=probabilities), right(0.5), None, gate, SEED)
    assert "proper_probabilities" in failed(decision)
    assert check(decision, "proper_probabilities").value == 1


# What cannot be computed refuses, and the other checks are still told.


@pytest.mark.parametrize(
    ("who", "refusing"),
    [
        ("candidate", ["proper_probabilities", "no_worse_than_baseline", "better_than_champion"]),
        ("baseline", ["no_worse_than_baseline"]),
        ("champion", ["better_than_champion"]),
    ],
)
def test_a_probability_that_is_no_number_refuses_whosever_it_is(gate: GateParams, who: str, refusing: list[str]) -> None:
    models = {"candidate": right(0.9), "baseline": right(0.5), "champion": right(0.5)}
    assert decide(**models, policy=gate, seed=SEED).promotes
    models[who] = with_nan(models[who])
    decision = decide(**models, policy=gate, seed=SEED)
    assert decision.verdict == REFUSE
    assert failed(decision) == refusing
    assert len(decision.checks) == 4


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(lambda p: taken(p, np.arange(399)), id="one less"),
        pytest.param(lambda p: changed(p, ids=[*p.ids[:-1], "another"]), id="another"),
        pytest.param(lambda p: changed(p, ids=[*p.ids[:-1], p.ids[0]]), id="one twice"),
    ],
)
@pytest.mark.parametrize("who", ["candidate", "champion"])
def test_other_rows_refuse(gate: GateParams, rows: Any, who: str) -> None:
    models = {"candidate": right(0.9), "baseline": right(0.5), "champion": right(0.5)}
    models[who] = rows(models[who])
    decision = decide(**models, policy=gate, seed=SEED)
    assert "better_than_champion" in failed(decision)
    refusal = check(decision, "better_than_champion")
    assert (refusal.value, refusal.low) == (None, None)
    assert "not scored on exactly the same rows" in refusal.explanation


def test_the_same_row_twice_in_both_models_refuses(gate: GateParams) -> None:
    model = right(0.9)
    doubled = changed(model, ids=[*model.ids[:-1], model.ids[0]])
    decision = decide(doubled, right(0.5), doubled, gate.model_copy(update={"policy": "non_inferior"}), SEED)
    assert failed(decision) == ["no_worse_than_baseline", "no_worse_than_champion"]


def test_renamed_labels_refuse(gate: GateParams) -> None:
    champion = changed(right(0.5), classes=("negative", "favourable"))
    decision = decide(right(0.9), right(0.5), champion, gate, SEED)
    assert failed(decision) == ["better_than_champion"]
    assert "do not know the same labels: favourable, positive in one only" in decision.reasons[0]


def test_other_true_labels_refuse(gate: GateParams) -> None:
    champion = right(0.5)
    decision = decide(right(0.9), right(0.5), changed(champion, labels=1 - champion.labels), gate, SEED)
    assert failed(decision) == ["better_than_champion"]
    assert "not scored against the same true labels" in decision.reasons[0]


def test_a_champion_that_could_not_be_scored_refuses_with_its_reason(gate: GateParams) -> None:
    champion = HeadwayError("models/champion: its weights were altered")
    decision = decide(right(0.9), right(0.5), champion, gate, SEED)
    assert decision.verdict == REFUSE
    assert failed(decision) == ["better_than_champion"]
    assert "models/champion: its weights were altered" in decision.reasons[0]
    measured = check(decision, "no_worse_than_baseline")
    assert measured.value == pytest.approx(0.4)


def test_every_check_is_told_also_after_one_failed(gate: GateParams) -> None:
    few = right(0.2, 50)
    decision = decide(with_nan(few), right(0.9, 50), right(0.9, 50), gate, SEED)
    assert failed(decision) == ["enough_test_rows", "proper_probabilities", "no_worse_than_baseline", "better_than_champion"]
    assert len(decision.reasons) == 4
    told = decision.as_dict()
    assert told["verdict"] == REFUSE
    assert [entry["passed"] for entry in told["checks"]] == [False] * 4
