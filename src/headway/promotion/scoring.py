"""Scores models on the test rows, and measures the cost of serving them."""

from __future__ import annotations

from dataclasses import dataclass

from headway.evaluation.predictions import Predictions, label_ids
from headway.model.training import pin
from headway.params import Params
from headway.promotion.gate import Costs
from headway.promotion.test_rows import TestRows
from headway.serving.latency import MachineLoad, measure
from headway.serving.package import ModelPackage


@dataclass(frozen=True)
class ScoredModel:
    """A model with its predictions on the test rows, and the size of its package in bytes."""

    model: ModelPackage
    predictions: Predictions
    size: int

    @classmethod
    def score(cls, model: ModelPackage, size: int, rows: TestRows, params: Params) -> ScoredModel:
        """Predict the test rows now, with the threads that training and evaluation use."""
        pin(params.training.threads)
        labels = label_ids(rows.labels, model.classes)
        return cls(model, Predictions(rows.ids, labels, model.predict_proba(rows.texts), model.classes), size)


def measure_costs(candidate: ScoredModel, champion: ScoredModel | None, rows: TestRows, params: Params) -> Costs:
    """Latency and size of both models, measured now in turns, with the threads that training and evaluation use."""
    pin(params.training.threads)
    models = {"candidate": candidate, **({"champion": champion} if champion else {})}
    ms = measure({name: one.model for name, one in models.items()}, rows.texts)
    return Costs(ms["candidate"], candidate.size, ms.get("champion"), champion.size if champion else None, MachineLoad.now())
