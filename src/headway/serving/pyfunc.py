"""The model package as an MLflow pyfunc model. MLflow imports this module by name and calls it with the package's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.errors import HeadwayError
from headway.serving.package import ModelPackage

if TYPE_CHECKING:
    import pandas as pd


class TextClassifier:
    """The interface that ``mlflow.pyfunc`` expects of a model."""

    def __init__(self, package: ModelPackage) -> None:
        self.package = package

    def predict(self, table: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Classify each row's ``text``.

        Returns:
            ``label``, the most likely class; ``probability of <class>`` for each class; and ``reason``. For a text that cannot be
            classified, such as a missing one, ``reason`` says why, and the other columns are null. It is null otherwise.
        """
        import pandas as pd

        if "text" not in table:
            raise HeadwayError(f"the table has no column 'text'; its columns are {', '.join(map(str, table.columns))}")
        probabilities, reasons = self.package.classify(table["text"].tolist())
        names = self.package.classes
        labels = [None if reason else names[row.argmax()] for reason, row in zip(reasons, probabilities, strict=True)]
        found = pd.DataFrame(probabilities, table.index, [f"probability of {name}" for name in names])
        if any(reasons):  # None, because MLflow's server would write NaN, which is not JSON
            found = found.astype(object).where(found.notna(), None)
        found.insert(0, "label", pd.Series(labels, table.index, dtype=object))
        found["reason"] = pd.Series([reason or None for reason in reasons], table.index, dtype=object)
        return found


def _load_pyfunc(path: str) -> TextClassifier:
    """MLflow's entry point; ``path`` is the folder of the package."""
    return TextClassifier(ModelPackage.load(Path(path)))
