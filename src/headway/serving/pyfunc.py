"""The model package as an MLflow pyfunc model. MLflow imports this module by name and calls it with the package's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.serving.package import ModelPackage

if TYPE_CHECKING:
    import pandas as pd


class TextClassifier:
    """The interface that ``mlflow.pyfunc`` expects of a model."""

    def __init__(self, package: ModelPackage) -> None:
        self.package = package

    def predict(self, table: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Predict labels and probabilities.

        Args:
            table: has a column ``text``.
            params: ignored.

        Returns:
            one row per text with its most likely class, ``label``, and a column ``probability of <class>`` for each class.
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
