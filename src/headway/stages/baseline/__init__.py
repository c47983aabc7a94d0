"""Stage baseline: fit the linear baseline on the training split and score it on validation and test rows."""

from __future__ import annotations

from typing import Any

from headway.evaluation import baseline as linear
from headway.evaluation.metrics import evaluate
from headway.evaluation.predictions import Predictions
from headway.files import fresh_folder, read_json, write_json
from headway.layout import Layout
from headway.params import Params
from headway.tables import read_table


def baseline(params: Params, layout: Layout) -> dict[str, Any]:
    """Write ``results/baseline/test.parquet``, its predictions on the test split, and its metrics."""
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
            report[split] = evaluate(predictions, params.evaluation, params.seed)
    write_json(layout.metrics("baseline"), report)
    return report
