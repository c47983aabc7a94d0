"""The model package as MLflow serves it: MLflow imports this module by name and hands it the package's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.serving.package import ModelPackage

if TYPE_CHECKING:
    import pandas as pd


class TextClassifier:
    """What ``mlflow.pyfunc`` calls."""

    def __init__(self, package: ModelPackage) -> None:
        self.package = package

    def predict(self, table: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Label and probabilities for a column ``text``.

        Returns:
            one row a text: ``label``, the likeliest class, and a column ``probability of <class>`` for each class.
        """
        import pandas as pd

        probabilities = self.package.predict_proba([str(text) for text in table["text"]])
        columns: dict[str, Any] = {"label": [self.package.classes[index] for index in probabilities.argmax(axis=1)]}
        for index, name in enumerate(self.package.classes):
            columns[f"probability of {name}"] = probabilities[:, index]
        return pd.DataFrame(columns, index=table.index)


def _load_pyfunc(path: str) -> TextClassifier:
    """MLflow's entry point; ``path`` is the folder of the package."""
    return TextClassifier(ModelPackage.load(Path(path)))
