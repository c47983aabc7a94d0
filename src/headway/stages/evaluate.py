"""Stage evaluate: the packed candidate on the test split, from raw text, exactly as it would be served."""

from __future__ import annotations

from typing import Any

import numpy as np

from headway.evaluation import metrics, plots
from headway.evaluation.predictions import Predictions
from headway.files import write_json
from headway.layout import Layout
from headway.model.training import pin
from headway.params import Params
from headway.serving.package import ModelPackage
from headway.tables import read_table


def evaluate(params: Params, layout: Layout) -> dict[str, Any]:
    """Write ``reports/evaluation/test.parquet``, the candidate's predictions; the confusion matrix, and test metrics."""
    pin(params.training.threads)
    predictions = predict_split(ModelPackage.load(layout.candidate), layout, "test")
    predictions.save(layout.evaluation / "test.parquet")
    plots.confusion_matrix(metrics.confusion_matrix(predictions), predictions.classes, layout.plot("confusion_matrix"))
    report = metrics.evaluate(predictions, params.evaluation, params.seed)
    write_json(layout.metrics("test"), report)
    return report


def predict_split(model: ModelPackage, layout: Layout, split: str) -> Predictions:
    """A model's predictions on a prepared split, its labels in the model's own order of classes.

    A true label that the model does not know gets the id -1, which no prediction equals.
    """
    table = read_table(layout.prepared / f"{split}.parquet", made_by="prepare")
    known = {name: index for index, name in enumerate(model.classes)}
    labels = [known.get(name, -1) for name in table["label"].to_pylist()]
    return Predictions(
        table["id"].to_pylist(), np.array(labels), model.predict_proba(table["text"].to_pylist()), model.classes
    )
