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
        """For each row's ``text``, the most likely class, ``label``, and ``probability of <class>`` for each class."""
        import pandas as pd

        probabilities = self.package.predict_proba([str(text) for text in table["text"]])
        found = pd.DataFrame(probabilities, table.index, [f"probability of {name}" for name in self.package.classes])
        found.insert(0, "label", [self.package.classes[index] for index in probabilities.argmax(axis=1)])
        return found


def _load_pyfunc(path: str) -> TextClassifier:
    """MLflow's entry point; ``path`` is the folder of the package."""
    return TextClassifier(ModelPackage.load(Path(path)))
