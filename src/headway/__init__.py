"""Headway: train, prove and promote self-attention text classifiers.

The Python API is :func:`load` and the :class:`Model` that it returns. Importing this package imports nothing else: PyTorch comes
with the first model that is loaded, MLflow only when that model comes from a registry.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from headway import environment
from headway.errors import HeadwayError

if TYPE_CHECKING:
    import numpy as np

    from headway.serving.explain import Explanation
    from headway.serving.package import ModelPackage

environment.limit_spinning()

__version__ = "0.2.0"
__all__ = ["HeadwayError", "Model", "load"]

#: The names that :func:`load` looks up in the registry. A folder of such a name is given as ``"./champion"``.
ALIASES = ("champion", "challenger")


class Model:
    """A trained classifier. :func:`load` makes it.

    It can be called from several threads, and keeps no state between calls.
    """

    def __init__(self, package: ModelPackage) -> None:
        self._package = package

    @property
    def classes(self) -> list[str]:
        """Label names, in the order of the columns of :meth:`predict_proba`."""
        return list(self._package.classes)

    def predict(self, texts: Iterable[str]) -> list[str]:
        """The most probable label of each text.

        Args:
            texts: any iterable of strings: a list, a pandas column, a generator.

        Returns:
            One label per text, in the order of the texts.

        Raises:
            HeadwayError: a text is missing, empty, not a string or not valid Unicode. The message gives its position. A
                text of white space, invisible characters or markup alone is empty.
        """
        classes = self._package.classes
        return [classes[index] for index in self.predict_proba(texts).argmax(axis=1)]

    def predict_proba(self, texts: Iterable[str]) -> np.ndarray:
        """Calibrated class probabilities.

        Args:
            texts: any iterable of strings. They are batched by length, so one call with many texts is faster than many calls.

        Returns:
            float32 of shape (texts, classes). Each row sums to 1; columns are in the order of :attr:`classes`.

        Raises:
            HeadwayError: a text is missing, empty, not a string or not valid Unicode. The message gives its position. A
                text of white space, invisible characters or markup alone is empty.
        """
        if isinstance(texts, str | bytes):
            raise HeadwayError(f"texts: expected a list of strings, got one {type(texts).__name__}; pass [text]")
        if hasattr(texts, "to_pylist") and not hasattr(texts, "columns"):
            raise HeadwayError(
                f"texts: expected a list of strings, got pyarrow's {type(texts).__name__}; pass column.to_pylist()"
            )
        is_scalar = getattr(texts, "ndim", 1) == 0  # an array without dimensions, which cannot be iterated over
        # Iterating over a table or a dict gives the names of its columns or keys, which would be classified.
        if not isinstance(texts, Iterable) or isinstance(texts, Mapping) or hasattr(texts, "columns") or is_scalar:
            raise HeadwayError(
                f"texts: expected a list of strings or one column, got a value of type {type(texts).__name__}"
            )
        return self._package.predict_proba(list(texts))

    def explain(self, text: str) -> Explanation:
        """What each part of the model, each n-gram and each token adds to the prediction for one text.

        The n-grams' contributions are exact; the tokens' contributions through attention are integrated gradients, those of
        sub-words and words for a pretrained encoder. This needs the package ``captum`` on top of the ``serving`` extra.

        Raises:
            HeadwayError: the text is missing, empty, not a string or not valid Unicode, or captum is not installed.
        """
        from headway.serving.explain import explain

        try:
            return explain(self._package, text)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "captum":
                raise
            raise HeadwayError("explain() needs the package captum; run `pip install captum`") from None


def load(
    where: str | int | os.PathLike[str], *, project: str | os.PathLike[str] | None = None, model_name: str | None = None
) -> Model:
    """Load a trained classifier from a folder or from the model registry.

    ``where`` is read by this rule, in this order:

    1. a ``Path`` is the folder of a model package, such as ``Path("models/candidate")``;
    2. ``"champion"`` and ``"challenger"`` are registry aliases;
    3. an integer, or a string of digits, is the number of a registered version;
    4. any other string is a folder. Write ``"./champion"`` or ``"./3"`` for a folder that has such a name.

    A folder needs the packages of the ``serving`` extra and nothing else: no MLflow, no project, no network. A registered model
    is looked up in MLflow. The server is the one that ``MLFLOW_TRACKING_URI`` names, otherwise the project's own database; the
    model is the one that the project's params.yaml names, unless ``model_name`` is given. Its files are downloaded, and compared
    with the SHA-256 that was recorded when the version was registered.

    Args:
        where: a folder, an alias or a version.
        project: a folder inside a Headway project, by default the working directory. For registered models only.
        model_name: name of the registered model. Outside of a project, give this and set ``MLFLOW_TRACKING_URI``.

    Raises:
        HeadwayError: there is no such model, its files are missing or altered, or it is not clear where to look. The message is
            one line that says what to do.
    """
    if isinstance(where, bool) or not isinstance(where, str | int | os.PathLike):
        raise HeadwayError(f"where: expected a folder, an alias ({' or '.join(ALIASES)}) or a version number, got {where!r}")
    from headway.registry.location import is_registered

    if isinstance(where, int) or (isinstance(where, str) and is_registered(where)):
        return Model(_registered(str(where), project, model_name))
    folder = Path(where)
    try:
        found = bool(where) and folder.is_dir()
    except OSError as error:  # no permission for a folder above, a name that is too long, …
        raise HeadwayError(f"{str(folder)[:200]}: cannot be read: {error.strerror}") from None
    if isinstance(where, str) and not found:
        raise HeadwayError(
            f"{where!r}: not a folder, an alias ({' or '.join(ALIASES)}) or a version number; "
            "give one of these, such as load('champion') or load('models/candidate')"
        )
    from headway.serving.package import ModelPackage

    return Model(ModelPackage.load(folder))


def _registered(where: str, project: str | os.PathLike[str] | None, model_name: str | None) -> ModelPackage:
    """The package of a registered version, by alias or number; for the arguments see :func:`load`."""
    from headway.registry.location import locate

    try:
        uri, model_name = locate(
            project, model_name, None, "pass project=FOLDER, or set MLFLOW_TRACKING_URI and pass model_name=NAME"
        )
    except HeadwayError as error:
        raise HeadwayError(f"load({where!r}): {error}") from None
    from headway.registry.download import download

    return download(uri, model_name, where)
