"""Stage baseline: fit the linear baseline on the training split and score it on validation and test rows."""

from __future__ import annotations

from typing import Any

from headway.evaluation import baseline as linear
from headway.evaluation.coverage import coverage_curve
from headway.evaluation.metrics import evaluate, evaluate_slices
from headway.evaluation.over_time import accuracy_over_time, times_of
from headway.evaluation.predictions import Predictions
from headway.evaluation.slices import slices
from headway.files import fresh_folder, read_json, write_json
from headway.layout import Layout
from headway.params import Params
from headway.tables import read_table


def baseline(params: Params, layout: Layout) -> dict[str, Any]:
    """Write ``results/baseline``, its predictions on the test split (``test.parquet``), slices and accuracy by coverage,
    with ``split.time_column`` also by time; and its metrics.
    """
    classes = read_json(layout.prepared / "labels.json", made_by="prepare")
    train = read_table(layout.prepared / "train.parquet", made_by="prepare")
    fitted = linear.fit(train["text"].to_pylist(), train["label_id"].to_pylist(), params.baseline)
    report = {}
    with fresh_folder(layout.baseline) as folder:
        for split in ("validation", "test"):
            table = read_table(layout.prepared / f"{split}.parquet", made_by="prepare")
            probabilities = linear.predict_proba(fitted, table["text"].to_pylist(), len(classes))
            predictions = Predictions(table["id"].to_pylist(), table["label_id"].to_numpy(), probabilities, classes)
            if split == "test":
                predictions.save(folder / "test.parquet")
                masks = slices(table, classes, params.evaluation)
                by_slice = evaluate_slices(predictions, masks, params.evaluation, params.seed)
                write_json(folder / layout.slices.name, by_slice)
                write_json(folder / layout.coverage.name, coverage_curve(predictions, params.evaluation.confidence))
                if (times := times_of(table)) is not None:
                    by_time = accuracy_over_time(predictions, times, params.evaluation.confidence)
                    write_json(folder / layout.over_time.name, by_time)
            report[split] = evaluate(predictions, params.evaluation, params.seed)
    write_json(layout.metrics("baseline"), report)
    return report
