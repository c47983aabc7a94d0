"""What each part learned, in numbers: held against plain loops, and against parts that are known to know nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from headway.model.combination import fit_weights
from headway.reporting.learning import findings
from headway.stages.train.parts import part_metrics

CLASSES = [50, 30, 20]


def some_labels(rows: int, random: torch.Generator) -> Tensor:
    return torch.multinomial(torch.tensor(CLASSES, dtype=torch.float), rows, replacement=True, generator=random)


def knowing(labels: Tensor, strength: float, random: torch.Generator) -> Tensor:
    """Logits of a calibrated part: the true class's is higher by ``strength`` than the noise around it."""
    noise = torch.randn(len(labels), len(CLASSES), generator=random)
    return strength * (noise + strength * torch.nn.functional.one_hot(labels, len(CLASSES)))


def measured(parts: dict[str, Tensor], labels: Tensor) -> tuple[dict, Tensor]:
    stacked = torch.stack(list(parts.values()))
    joint = torch.tensordot(fit_weights(stacked, labels)[0], stacked, dims=1)
    return part_metrics(parts, joint, labels, CLASSES), joint


def test_every_number_is_that_of_a_plain_loop() -> None:
    random = torch.Generator().manual_seed(1)
    labels = some_labels(60, random)
    parts = {"ngrams": knowing(labels, 1.5, random), "attention": knowing(labels, 0.7, random)}
    found, joint = measured(parts, labels)
    shares = [math.log(rows / sum(CLASSES)) for rows in CLASSES]
    at = {name: (float(fit_weights(z[None], labels)[0]) * z).log_softmax(1).tolist() for name, z in parts.items()}
    both = joint.log_softmax(1).tolist()
    y = labels.tolist()

    def best(row: list[float]) -> int:
        return row.index(max(row))

    assert found["class_shares"] == {
        "validation_accuracy": pytest.approx(y.count(0) / 60, abs=1e-6),
        "validation_nll": pytest.approx(-sum(shares[one] for one in y) / 60, abs=1e-6),
    }
    for name, other in [("ngrams", "attention"), ("attention", "ngrams")]:
        gains = [at[name][i][y[i]] - shares[y[i]] for i in range(60)]
        mean = sum(gains) / 60
        assert found[name] == {
            "validation_accuracy": pytest.approx(sum(best(at[name][i]) == y[i] for i in range(60)) / 60, abs=1e-6),
            "validation_nll": pytest.approx(-sum(at[name][i][y[i]] for i in range(60)) / 60, abs=1e-5),
            "only_part_correct": sum(best(at[name][i]) == y[i] != 0 for i in range(60)),
            "only_majority_correct": sum(best(at[name][i]) != y[i] == 0 for i in range(60)),
            "nll_gain": pytest.approx(mean, abs=1e-5),
            "nll_gain_error": pytest.approx(math.sqrt(sum((one - mean) ** 2 for one in gains)) / 60, abs=1e-5),
            "likelihood_gain": pytest.approx(sum(both[i][y[i]] - at[other][i][y[i]] for i in range(60)), abs=2e-3),
            "predictions_changed": sum(best(both[i]) != best(at[other][i]) for i in range(60)),
        }


def test_a_single_part_is_compared_with_the_class_shares_alone() -> None:
    random = torch.Generator().manual_seed(1)
    labels = some_labels(60, random)
    found, _ = measured({"attention": knowing(labels, 1.0, random)}, labels)
    assert "likelihood_gain" not in found["attention"]


def named(parts: dict[str, Tensor], labels: Tensor) -> set[str]:
    report = measured(parts, labels)[0]
    for part in parts:
        report[part] |= {"weight": 1.0, "features": 1000}
    rows = {"validation_rows": len(labels), "training_rows": 3000, "classes": len(CLASSES)}
    return {one.part for one in findings({**rows, **report})}


@pytest.mark.parametrize("rows", [40, 400])
@pytest.mark.parametrize("scale", [0.05, 5.0])
def test_a_part_of_pure_noise_is_found_in_19_of_20_cases_at_any_scale_and_size(rows: int, scale: float) -> None:
    found = 0
    for seed in range(60):
        random = torch.Generator().manual_seed(seed)
        labels = some_labels(rows, random)
        noise = scale * torch.randn(rows, len(CLASSES), generator=random)
        found += "attention" in named({"ngrams": knowing(labels, 1.5, random), "attention": noise}, labels)
    assert found >= 53  # 60 cases at 95% are at least 53 with a probability of 98%; most are found by two tests


def test_two_parts_that_know_different_things_are_never_named() -> None:
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        labels = some_labels(400, random)
        assert not named({"ngrams": knowing(labels, 1.5, random), "attention": knowing(labels, 1.5, random)}, labels)


def test_of_two_equal_parts_one_is_named() -> None:
    random = torch.Generator().manual_seed(1)
    labels = some_labels(400, random)
    part = knowing(labels, 1.5, random)
    assert named({"ngrams": part, "attention": part}, labels) == {"attention"}


def test_a_part_whose_answers_are_the_majority_class_but_whose_probabilities_are_right_learned_little() -> None:
    random = torch.Generator().manual_seed(1)
    labels = some_labels(4000, random)
    ranks = knowing(labels, 0.15, random) + torch.tensor([0.5, 0.3, 0.2]).log()
    report = measured({"attention": ranks}, labels)[0]
    rows = {"validation_rows": 4000, "training_rows": 3000, "classes": 3}
    (finding,) = findings({**rows, **report})
    assert "learned little" in finding.problem


@pytest.mark.parametrize("only_class", [0, 2])
def test_validation_rows_of_a_single_class_are_measured_and_give_no_false_verdict(only_class: int) -> None:
    random = torch.Generator().manual_seed(1)
    labels = torch.full((40,), only_class)
    parts = {"attention": torch.randn(40, 3, generator=random)}
    report = measured(parts, labels)[0]
    assert report["class_shares"]["validation_accuracy"] == (only_class == 0)
    assert all(math.isfinite(value) for value in report["attention"].values())
    rows = {"validation_rows": 40, "training_rows": 3000, "classes": 3}
    found = findings({**rows, **report})
    if only_class == 0:
        assert ["cannot be judged" in one.problem for one in found] == [True]
