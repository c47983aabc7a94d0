"""Model packages as MLflow models, which carry Headway's own code so that MLflow can serve them."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import AnyType

import headway
from headway.serving import package
from headway.tracking import reachable

#: What a logged model imports when it is served; nothing of the training stack.
SERVING_REQUIREMENTS = ("mlflow", "torch", "tokenizers", "safetensors", "numpy", "pandas", "pyarrow", "pydantic")
EXAMPLE = pd.DataFrame({"text": ["A joy from the first scene to the last.", "I wanted my two hours back."]})


@contextmanager
def module_functions_use(uri: str) -> Iterator[None]:
    """Until the block ends, MLflow's module-level functions use this server too. Errors of MLflow become one line.

    Raises:
        Unreachable: MLflow does not answer, or refuses.
    """
    before = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    with reachable(uri):
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before["MLFLOW_TRACKING_URI"])  # type: ignore[arg-type]  # None resets it
            mlflow.set_registry_uri(before["MLFLOW_REGISTRY_URI"])  # type: ignore[arg-type]
            # The setters also set the environment, from which later trackers and child processes would take the address.
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def log(folder: Path, run_id: str, tags: Mapping[str, str], name: str = "model") -> str:
    """Log a package with a run, as a pyfunc model that carries Headway's own code; returns its address, ``models:/…``.

    The name and the tags are the logged model's. MLflow links it to the run, and to the run's params and last metrics.
    """
    model = package.ModelPackage.load(folder)
    with mlflow.start_run(run_id=run_id):
        info = mlflow.pyfunc.log_model(
            name=re.sub(r"""[/:.%"']+""", "-", name),  # MLflow refuses these characters
            loader_module="headway.serving.pyfunc",
            data_path=str(folder),
            code_paths=[str(Path(headway.__file__).parent)],
            signature=signature(model.classes),
            input_example=EXAMPLE,
            tags=dict(tags),
            pip_requirements=[f"{name}=={_public_version(name)}" for name in SERVING_REQUIREMENTS],
        )
    return str(info.model_uri)


def signature(classes: Sequence[str]) -> ModelSignature:
    """Columns that :class:`headway.serving.pyfunc.TextClassifier` reads and returns; all that it returns can be null.

    The text is declared as of any type, because MLflow makes the word "None" of a missing value in a column of strings.
    """
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "label", required=False),
        *(ColSpec(DataType.float, f"probability of {name}", required=False) for name in classes),
        ColSpec(DataType.string, "reason", required=False),
    ]
    anything = AnyType()
    return ModelSignature(inputs=Schema([ColSpec(anything, "text")]), outputs=Schema(columns))


def _public_version(distribution: str) -> str:
    """The installed version without a local part such as ``+cpu``, which most package indexes do not have."""
    return importlib.metadata.version(distribution).split("+")[0]
