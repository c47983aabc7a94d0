"""A project in which the real training has run once, and MLflow's database, which takes seconds to make, to copy."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headway.files import write_json
from headway.layout import Layout
from headway.params import Params

SMALL = {
    "model.d_model": 8,
    "model.dim_feedforward": 16,
    "model.bigram_buckets": 512,
    "training.max_epochs": 2,
    "training.patience": 5,
    "training.tokens_per_batch": 1024,
    "training.threads": 1,
}
FOUND = {"model.d_model": 12, "training.learning_rate": 0.0037, "model.similarity": "cosine"}


@dataclass(frozen=True)
class Trained:
    """A project after ``train``; what the search is said to have found; and what the stage returned."""

    params: Params
    layout: Layout
    found: dict[str, Any]
    report: dict[str, Any]


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and nothing of ours in it."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def with_database(layout: Layout, database: Path) -> Layout:
    layout.tracking.mkdir()
    shutil.copyfile(database, layout.tracking / "mlflow.db")
    return layout


@pytest.fixture(scope="session")
def trained(reviews: Any, database: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Only to be read, but for MLflow's runs."""
    from headway.stages.train import train
    from headway.tracking import Tracker

    layout = Layout(Path(shutil.copytree(reviews.layout.root, tmp_path_factory.mktemp("trained") / "project")))
    with_database(layout, database)
    params = reviews.params.override(SMALL)
    write_json(layout.study / "best_params.json", FOUND)
    return Trained(params, layout, FOUND, train(params, layout, Tracker(params, layout)))


@pytest.fixture
def tunable(own_reviews: Any, database: Path) -> tuple[Params, Layout]:
    """Small params and a project of the test's own, in which the data stages have run."""
    return own_reviews.params.override(SMALL), with_database(own_reviews.layout, database)
