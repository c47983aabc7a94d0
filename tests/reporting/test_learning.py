"""Which parts of a model are named as having learned nothing, and which advice the numbers support."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headway.params import load
from headway.reporting.learning import DEFAULT_RATE, findings

PROJECT = Path(__file__).parents[2]
ROWS = {"validation_rows": 457, "training_rows": 3600, "classes": 3}
SHARES = {"validation_accuracy": 0.4898, "validation_nll": 1.02}
GOOD = {
    "validation_accuracy": 0.6616,
    "validation_nll": 0.75,
    "only_part_correct": 110,
    "only_majority_correct": 31,
    "nll_gain": 0.27,
    "nll_gain_error": 0.03,
    "likelihood_gain": 40.0,
    "predictions_changed": 90,
    "weight": 0.9,
}
NGRAMS = {**GOOD, "features": 9_000}
MAJORITY = {
    "validation_accuracy": 0.4898,
    "validation_nll": 1.021,
    "only_part_correct": 0,
    "only_majority_correct": 0,
    "nll_gain": -0.001,
    "nll_gain_error": 0.002,
    "likelihood_gain": 0.1,
    "predictions_changed": 1,
    "weight": 0.02,
    "train_loss": 1.0,
}
AUTO = {"learning_rate": 0.003, "max_epochs": "auto", "tokens_per_batch": "auto", "word_vectors": ""}


def report(attention: dict[str, Any], ngrams: dict[str, Any] | None = NGRAMS, **more: Any) -> dict[str, Any]:
    parts = {"attention": attention} if ngrams is None else {"attention": attention, "ngrams": ngrams}
    return {**ROWS, "class_shares": SHARES, "settings": AUTO, **parts, **more}


def only(found: dict[str, Any]) -> str:
    (finding,) = findings(found)
    return finding.line


def test_nothing_is_said_of_parts_that_learned() -> None:
    assert findings(report(GOOD)) == []
    assert findings(report(GOOD, None)) == []


def test_a_report_of_an_older_version_gives_no_finding() -> None:
    assert findings({}) == []
    assert findings({"attention": {"validation_accuracy": 0.5, "weight": 0.0}}) == []


def test_a_part_at_the_majority_class_is_named_with_both_numbers() -> None:
    (finding,) = findings(report(MAJORITY))
    assert finding.part == "attention"
    assert finding.problem == (
        "The attention part did not learn: its validation accuracy 0.4898 is not above the share of the most frequent class, "
        "0.4898, on 457 rows"
    )
    assert finding.remedy == (
        "More rows or word vectors (tokenizer.word_vectors) may help; until then the n-grams carry the model"
    )


@pytest.mark.parametrize(("wins", "losses", "named"), [(5, 0, False), (4, 0, True), (60, 43, True), (60, 42, False)])
def test_the_accuracy_must_be_above_the_majority_by_more_than_its_noise(wins: int, losses: int, named: bool) -> None:
    """One-sided exact McNemar test: 0.5⁵ is 3.1%, 0.5⁴ is 6.3%."""
    found = findings(report({**GOOD, "only_part_correct": wins, "only_majority_correct": losses}))
    assert bool(found) == named
    if named:
        assert "learned little: its validation accuracy 0.6616 is not significantly above" in found[0].problem


@pytest.mark.parametrize(("gain", "named"), [(0.05, False), (0.048, True), (-0.1, True)])
def test_a_loss_that_never_fell_below_the_class_shares_is_named(gain: float, named: bool) -> None:
    """The limit is 1.645 standard errors of 0.03, which is 0.0493."""
    found = findings(report({**GOOD, "nll_gain": gain}))
    assert bool(found) == named
    if named:
        assert "validation loss never fell" in found[0].problem


@pytest.mark.parametrize(("gain", "named"), [(1.4, False), (1.3, True), (-2.0, True)])
def test_a_part_that_changes_nothing_is_named(gain: float, named: bool) -> None:
    """The 90% quantile of a χ² distribution with one degree of freedom, halved, is 1.353."""
    found = findings(report({**GOOD, "likelihood_gain": gain, "predictions_changed": 3, "weight": 0.02}))
    assert bool(found) == named
    if named:
        assert "no significant gain over the n-grams: 3 of 457 validation predictions change" in found[0].problem


def test_of_two_parts_that_add_nothing_to_each_other_the_worse_one_is_named() -> None:
    idle = {"likelihood_gain": 0.2}
    assert [one.part for one in findings(report({**GOOD, **idle}, {**NGRAMS, **idle}))] == ["attention"]
    better = {**GOOD, **idle, "validation_nll": 0.7}
    (finding,) = findings(report(better, {**NGRAMS, **idle}))
    assert finding.part == "ngrams"
    assert finding.remedy == "The model would probably lose nothing with ngrams.max_order: 0"


@pytest.mark.parametrize(
    ("steps", "settings", "advice"),
    [
        (
            33,
            {"max_epochs": 3, "tokens_per_batch": 8192},
            "33 steps only: set training.max_epochs and training.tokens_per_batch",
        ),
        (33, {"tokens_per_batch": 8192}, "33 steps only: set training.tokens_per_batch to auto"),
        (33, {}, ""),  # they are auto already
        (900, {"max_epochs": 3, "tokens_per_batch": 8192}, ""),
        (900, {"learning_rate": 0.05}, "training.learning_rate 0.05 is high: try 0.003"),
    ],
)
def test_only_settings_chosen_by_hand_are_blamed(steps: int, settings: dict[str, Any], advice: str) -> None:
    line = only(report({**MAJORITY, "steps": steps}, settings={**AUTO, **settings}))
    assert advice in line
    assert bool(advice) == ("to auto" in line or "is high" in line) == ("More rows" not in line)
    assert line.endswith("; until then the n-grams carry the model")


def test_few_rows_per_class_are_the_advice_where_they_are_few() -> None:
    assert "There are only 40 training rows per class: add rows; until then the n-grams" in only(
        report(MAJORITY, training_rows=120)
    )


def test_memorised_rows_are_told_from_rows_that_were_not_learned() -> None:
    assert "It memorised the training rows: more rows or word" in only(report({**MAJORITY, "train_loss": 0.2}))
    known = report({**MAJORITY, "train_loss": 0.2}, settings={**AUTO, "word_vectors": "glove.txt"})
    assert "It memorised the training rows: more rows may help" in only(known)


def test_when_no_part_learned_the_columns_are_in_doubt() -> None:
    found = findings(report(MAJORITY, {**MAJORITY, "features": 9_000}))
    assert [one.part for one in found] == ["attention", "ngrams"]
    assert all("data.label_column" in one.remedy for one in found)
    assert "data.label_column" in only(report(MAJORITY, None))


def test_few_ngrams_are_the_reason_that_they_did_not_learn() -> None:
    line = only(report(GOOD, {**MAJORITY, "features": 12}))
    assert "The n-grams did not learn: their validation accuracy" in line
    assert "There are only 12 n-grams: lower ngrams.min_document_frequency" in line


def test_a_part_whose_accuracy_is_higher_but_not_significantly_may_have_learned() -> None:
    line = only(report({**MAJORITY, "validation_accuracy": 0.51}))
    assert line.startswith(
        "It is not certain that the attention part learned: its validation accuracy 0.5100 is not significantly"
    )


@pytest.mark.parametrize(
    ("rows", "accuracy", "judged"), [(4, 0.25, False), (457, 1.0, False), (457, 453 / 457, False), (8, 0.375, True)]
)
def test_rows_on_which_no_part_could_pass_the_test_give_no_verdict(rows: int, accuracy: float, judged: bool) -> None:
    """Four rows, all rows of one class, and few rows of the other classes; 5 of 8 rows are enough."""
    found = report(MAJORITY, None, validation_rows=rows, class_shares={**SHARES, "validation_accuracy": accuracy})
    assert ("cannot be judged: only" in only(found)) != judged
    informed = {**GOOD, "only_part_correct": 0, "only_majority_correct": 0}
    assert bool(findings({**found, "attention": informed})) == judged


def test_with_balanced_class_weights_accuracy_and_loss_are_no_evidence() -> None:
    balanced = {**AUTO, "class_weights": "balanced"}
    assert findings(report({**MAJORITY, "likelihood_gain": 40.0}, settings=balanced)) == []
    line = only(report({**MAJORITY, "train_loss": 0.2}, settings=balanced))
    assert "no significant gain over the n-grams" in line
    assert "memorised" not in line


def test_the_columns_are_in_doubt_only_if_no_part_found_anything() -> None:
    """A part that adds nothing may have learned, and one below the majority class too."""
    idle = {**GOOD, "likelihood_gain": 0.1}
    little = {**NGRAMS, "only_part_correct": 0}
    assert not any("No part found" in one.remedy for one in findings(report(idle, little)))


def test_settings_of_the_training_come_before_the_columns() -> None:
    line = only(report({**MAJORITY, "steps": 33}, None, settings={**AUTO, "max_epochs": 3, "learning_rate": 0.05}))
    assert "set training.max_epochs to auto. training.learning_rate 0.05 is high" in line
    assert "No part found" not in line


def test_the_recommended_learning_rate_is_that_of_a_new_project() -> None:
    assert load(PROJECT / "params.yaml").training.learning_rate == DEFAULT_RATE
