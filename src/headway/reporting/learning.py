"""Which parts of a trained model did not learn, and what to try: sentences made from ``metrics/training.json``.

A part is compared with a model that always predicts the class shares of the training rows, and with the joint model without
it, on the same validation rows. Every rule is a one-sided test at level :data:`LEVEL`, so that a small validation split
does not call noise a success:

- *accuracy*: the exact McNemar test against always answering the most frequent class;
- *loss*: the z-test of the paired differences of the negative log-likelihoods;
- *contribution*: the likelihood-ratio test for a weight of 0. The weight cannot be negative, so twice the gain in
  log-likelihood is 0 with probability 1/2, and else follows a χ² distribution with one degree of freedom (Chernoff 1954, "On
  the Distribution of the Likelihood Ratio"). The weights are fitted with a prior around 1, so the test is conservative where
  rows are few.

With ``training.class_weights: balanced`` a model gives up accuracy and likelihood on purpose, so only the last test is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headway.reporting.formatting import shown

LEVEL = 0.05
#: The parts as people know them, by their key in the report.
NAMES = {"attention": "attention part", "ngrams": "n-grams"}
#: Optimiser steps below which a training is short, and rows per class below which a class is small.
FEW_STEPS, FEW_ROWS = 300, 50
#: ``training.learning_rate`` in the params.yaml of a new project, and how many times as high a rate is called high.
DEFAULT_RATE, HIGH = 0.003, 3
#: Ratio of the last training loss to the loss of the class shares below which the training rows were memorised.
MEMORISED = 0.5
#: N-grams below which a vocabulary is small.
FEW_NGRAMS = 100


@dataclass(frozen=True)
class Finding:
    """A part that did not learn, adds nothing significant, or cannot be judged.

    Attributes:
        part: key in the report: ``attention`` or ``ngrams``.
        problem: what is wrong, with the numbers that show it.
        remedy: what to try.
    """

    part: str
    problem: str
    remedy: str

    @property
    def line(self) -> str:
        """Problem and remedy in one line."""
        return f"{self.problem}. {self.remedy}"


def findings(report: Mapping[str, Any]) -> list[Finding]:
    """The parts that did not learn, add nothing significant or cannot be judged, at most one finding for each.

    Args:
        report: content of ``metrics/training.json``; without the numbers that the rules need, as in reports of older
            versions, nothing is found.
    """
    if "class_shares" not in report:
        return []
    parts = [part for part in NAMES if part in report]
    balanced = _is_balanced(report)
    found = {part: problem for part in parts if not balanced and (problem := _not_learned(part, report))}
    idle = [part for part in parts if part not in found and _is_idle(report[part])]
    if len(idle) > 1:  # either would do alone; the less accurate one is the idle one
        idle = [max(idle, key=lambda part: (report[part]["validation_nll"], part == "attention"))]
    found |= {part: _idle(part, report) for part in idle}
    return [Finding(part, found[part], _remedy(part, part in idle, report)) for part in parts if part in found]


def _not_learned(part: str, report: Mapping[str, Any]) -> str:
    """Why a part has not learned, "" if it has."""
    one, shares, name = report[part], report["class_shares"], NAMES[part]
    accurate = _mcnemar(one["only_part_correct"], one["only_majority_correct"]) <= LEVEL
    informed = _is_informed(one)
    if informed and (accurate or not _can_be_judged(report)):
        return ""
    if not accurate and not _can_be_judged(report):
        return (
            f"The {name} cannot be judged: only {_minority_rows(report):,} of {report['validation_rows']:,} validation rows are "
            "not of the most frequent class"
        )
    its = "their" if part == "ngrams" else "its"
    higher = one["validation_accuracy"] > shares["validation_accuracy"]
    above = "significantly " if higher else ""
    majority = (
        f"validation accuracy {shown(one['validation_accuracy'])} is not {above}above the share of the most frequent class, "
        f"{shown(shares['validation_accuracy'])}, on {report['validation_rows']:,} rows"
    )
    loss = (
        f"validation loss never fell {'' if one['nll_gain'] <= 0 else 'significantly '}below that of the class shares "
        f"({shown(one['validation_nll'])} against {shown(shares['validation_nll'])})"
    )
    if accurate:
        return f"The {name} learned no probabilities: the {loss}"
    if informed:
        return f"The {name} learned little: {its} {majority}"
    return f"{f'It is not certain that the {name} learned' if higher else f'The {name} did not learn'}: {its} {majority}"


def _is_idle(one: Mapping[str, Any]) -> bool:
    return "likelihood_gain" in one and _likelihood_ratio(one["likelihood_gain"]) > LEVEL


def _idle(part: str, report: Mapping[str, Any]) -> str:
    one = report[part]
    (other,) = (NAMES[name] for name in NAMES if name != part)
    return (
        f"The {NAMES[part]} {'have' if part == 'ngrams' else 'has'} no significant gain over the {other}: "
        f"{one['predictions_changed']:,} of {report['validation_rows']:,} validation predictions change, and the gain in "
        f"likelihood is within noise (p = {_likelihood_ratio(one['likelihood_gain']):.2g})"
    )


def _is_informed(one: Mapping[str, Any]) -> bool:
    """Whether a part's probabilities are significantly better than the class shares."""
    return bool(one["nll_gain"] > _quantile() * one["nll_gain_error"])


def _is_balanced(report: Mapping[str, Any]) -> bool:
    return bool(report.get("settings", {}).get("class_weights") == "balanced")


def _minority_rows(report: Mapping[str, Any]) -> int:
    """Validation rows that always answering the most frequent class gets wrong."""
    share = float(report["class_shares"]["validation_accuracy"])
    return round((1 - share) * int(report["validation_rows"]))


def _can_be_judged(report: Mapping[str, Any]) -> bool:
    """Whether a part that is right on every validation row would be significantly above the most frequent class."""
    return _mcnemar(_minority_rows(report), 0) <= LEVEL


def _remedy(part: str, idle: bool, report: Mapping[str, Any]) -> str:
    """What to try, as far as the numbers support it: first the settings, then the rows, then the columns."""
    trained = () if "encoder" in report else _of_training(report)  # its learning rate is another
    settings = [*(_of_ngrams(report) if part == "ngrams" else trained)]
    rows_per_class = report["training_rows"] / report["classes"]
    few_rows = f"There are only {rows_per_class:,.0f} training rows per class: add rows" if rows_per_class < FEW_ROWS else ""
    informed = {name for name in NAMES if name in report and _is_informed(report[name])}
    until = "; until then the n-grams carry the model" if part == "attention" and "ngrams" in informed else ""
    if part == "ngrams" and idle:
        return "The model would probably lose nothing with ngrams.max_order: 0"
    if settings:
        return ". ".join(settings) + until
    if not idle and not _can_be_judged(report):
        return "Add rows, or give the validation split a larger share"
    if not informed and not _is_balanced(report):
        columns = "Check that data.text_column and data.label_column are the right columns, and read some rows"
        return f"No part found a relation of texts and labels. {few_rows or columns}"
    if part == "ngrams":
        return few_rows or "The model relies on the attention part, and ngrams.max_order: 0 makes it smaller"
    return (few_rows or _of_rows(report)) + until


def _of_ngrams(report: Mapping[str, Any]) -> Iterator[str]:
    """Settings that leave few n-grams."""
    if report["ngrams"]["features"] < FEW_NGRAMS:
        yield f"There are only {report['ngrams']['features']:,} n-grams: lower ngrams.min_document_frequency"


def _of_training(report: Mapping[str, Any]) -> Iterator[str]:
    """Settings of the training that were chosen by hand and are suspicious."""
    settings, steps = report.get("settings", {}), report["attention"].get("steps")
    explicit = [f"training.{name}" for name in ("max_epochs", "tokens_per_batch") if settings.get(name, "auto") != "auto"]
    if explicit and steps is not None and steps < FEW_STEPS:
        yield f"It was trained for {steps:,} steps only: set {' and '.join(explicit)} to auto"
    rate = settings.get("learning_rate")
    if isinstance(rate, int | float) and rate > HIGH * DEFAULT_RATE:
        yield f"training.learning_rate {rate:g} is high: try {DEFAULT_RATE:g}"


def _of_rows(report: Mapping[str, Any]) -> str:
    if "encoder" in report:
        return "More rows may help, or an encoder that was pretrained in the texts' language and domain"
    small = report["attention"].get("train_loss", 1.0) < MEMORISED * report["class_shares"]["validation_nll"]
    memorised = small and not _is_balanced(report)  # a loss with class weights is not comparable
    known = report.get("settings", {}).get("word_vectors")
    advice = "more rows may help" if known else "more rows or word vectors (tokenizer.word_vectors) may help"
    return f"It memorised the training rows: {advice}" if memorised else f"{advice[0].upper()}{advice[1:]}"


def _mcnemar(wins: int, losses: int) -> float:
    """The p-value of the exact one-sided McNemar test."""
    from scipy.stats import binom

    return float(binom.sf(wins - 1, wins + losses, 0.5))


def _quantile() -> float:
    from scipy.stats import norm

    return float(norm.isf(LEVEL))


def _likelihood_ratio(gain: float) -> float:
    """The p-value of a gain in log-likelihood, in nats over all rows, by one weight that cannot be negative."""
    from scipy.stats import chi2

    return float(chi2.sf(2 * gain, 1)) / 2 if gain > 0 else 1.0
