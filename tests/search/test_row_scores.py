"""The objective row by row: its mean is the objective, and its spread the standard error that a bootstrap finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torchmetrics.functional.classification import multiclass_f1_score

from headway.search.row_scores import row_scores
from headway.search.trial import MAX_ROWS, decode_rows, encode_rows


def some(rows: int, classes: int = 3, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Logits that know something of the labels, and labels."""
    random = np.random.default_rng(seed)
    labels = random.choice(classes, rows, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    return random.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels], labels


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Macro-F1 of three classes by counting, which is faster than scikit-learn."""
    table = np.bincount(3 * labels + predicted, minlength=9).reshape(3, 3)
    return float((2 * np.diag(table) / (table.sum(axis=0) + table.sum(axis=1))).mean())


def test_the_mean_is_the_objective() -> None:
    logits, labels = some(200)
    predicted = logits.argmax(axis=1)
    assert row_scores("accuracy", logits, labels).mean() == (predicted == labels).mean()
    assert row_scores("macro_f1", logits, labels).mean() == pytest.approx(f1_score(labels, predicted, average="macro"))
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    assert row_scores("negative_log_likelihood", logits, labels).mean() == pytest.approx(float(loss))


def test_a_class_that_is_neither_predicted_nor_a_label_does_not_count() -> None:
    logits, labels = some(50, classes=2)
    wider = np.column_stack([logits, np.full(50, -9.0)])
    found = row_scores("macro_f1", wider, labels).mean()
    assert found == pytest.approx(
        float(multiclass_f1_score(torch.from_numpy(wider), torch.from_numpy(labels), 3, average="macro"))
    )
    assert found == pytest.approx(row_scores("macro_f1", logits, labels).mean())


def test_the_standard_error_of_a_difference_in_macro_f1_is_that_of_a_bootstrap() -> None:
    (one, labels), (other, _) = some(300), some(300, seed=2)
    other = other - 1.5 * np.eye(3)[some(300, seed=2)[1]] + 1.0 * np.eye(3)[labels]  # the same labels, known less well
    differences = row_scores("macro_f1", one, labels) - row_scores("macro_f1", other, labels)
    random, found = np.random.default_rng(1), []
    for _ in range(1000):
        rows = random.integers(0, 300, 300)
        found.append(np.subtract(*(macro_f1(labels[rows], z.argmax(axis=1)[rows]) for z in (one, other))))
    assert differences.std() / 300**0.5 == pytest.approx(np.std(found), rel=0.1)


def test_values_survive_their_text_form_in_half_precision() -> None:
    values = row_scores("negative_log_likelihood", *some(100))
    np.testing.assert_allclose(decode_rows(encode_rows(values))[0], values, rtol=1e-3)
    hits = row_scores("accuracy", *some(100))
    assert (decode_rows(encode_rows(hits))[0] == hits).all()


def test_of_many_rows_evenly_spaced_ones_are_kept() -> None:
    kept, rows = decode_rows(encode_rows(np.arange(10_000.0) % 2000))
    assert (len(kept), rows) == (MAX_ROWS, 10_000)
    assert (kept[0], kept[-1]) == (0, 9_999 % 2000)
    assert len(encode_rows(np.zeros(100_000))) < 11_000
