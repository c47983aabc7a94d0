"""Stage evaluate: score the packaged candidate on the test split, from raw text, exactly as it would be served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headway.evaluation import metrics
from headway.evaluation.confusions import top_confusions
from headway.evaluation.coverage import coverage_curve
from headway.evaluation.mistakes import worst_mistakes
from headway.evaluation.over_time import accuracy_over_time, times_of
from headway.evaluation.predictions import Predictions, label_ids
from headway.evaluation.slices import slices
from headway.files import fresh_folder, write_json
from headway.layout import Layout
from headway.model.training import pin
from headway.params import Params
from headway.serving.package import ModelPackage, fingerprint
from headway.tables import read_table


def evaluate(params: Params, layout: Layout) -> dict[str, Any]:
    """Write ``results/evaluation`` and the test metrics.

    The folder has the candidate's predictions (``test.parquet``), its slices, worst mistakes, confusions and accuracy by
    coverage, with ``split.time_column`` also by time, and which model it is (``model.json``).

    Raises:
        HeadwayError: a slice in params.yaml cannot be computed on these rows.
    """
    pin(params.training.threads)
    predictions = predict_split(ModelPackage.load(layout.candidate), layout, "test")
    table = read_table(layout.prepared / "test.parquet", made_by="prepare")
    masks = slices(table, predictions.classes, params.evaluation)
    report = metrics.evaluate(predictions, params.evaluation, params.seed)
    by_slice = metrics.evaluate_slices(predictions, masks, params.evaluation, params.seed)
    texts, labels = table["text"].to_pylist(), table["label"].to_pylist()
    files: dict[Path, Any] = {
        layout.slices: by_slice,
        layout.mistakes: worst_mistakes(predictions, texts, labels),
        layout.confusions: top_confusions(predictions, texts, labels),
        layout.coverage: coverage_curve(predictions, params.evaluation.confidence),
        layout.evaluated_model: {"sha256": fingerprint(layout.candidate), "classes": len(predictions.classes)},
    }
    if (times := times_of(table)) is not None:
        files[layout.over_time] = accuracy_over_time(predictions, times, params.evaluation.confidence)
    with fresh_folder(layout.evaluation) as folder:
        predictions.save(folder / "test.parquet")
        for path, content in files.items():
            write_json(folder / path.name, content)
    write_json(layout.metrics("test"), report)
    return report


def predict_split(model: ModelPackage, layout: Layout, split: str) -> Predictions:
    """Predictions of a model on a prepared split, with classes in the model's order.

    A true label unknown to the model gets the id -1, which no prediction equals.
    """
    table = read_table(layout.prepared / f"{split}.parquet", made_by="prepare")
    labels = label_ids(table["label"].to_pylist(), model.classes)
    return Predictions(table["id"].to_pylist(), labels, model.predict_proba(table["text"].to_pylist()), model.classes)
