"""What tests share: the project's own params, a temporary project to run in, and a slice of the reviews that ship.

Nothing here is synthetic: the slice went through the real stages, once a session.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from headway import environment

environment.configure()
os.environ.pop("MLFLOW_TRACKING_URI", None)  # tests track into their own project, whatever server a person works with

from headway.layout import Layout  # noqa: E402 - the switches come before anything that reads them
from headway.params import Params, load  # noqa: E402

hypothesis.settings.register_profile("headway", deadline=None)  # how long an example takes depends on who else is computing
hypothesis.settings.load_profile("headway")

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Slice:
    """A project whose data stages have run on a few hundred Rotten Tomatoes sentences, and the params they ran with."""

    params: Params
    layout: Layout


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> Iterator[None]:
    """Ctrl+C raises, also where the tests were started in the background of a shell, which ignores it there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def params() -> Params:
    """The repository's params.yaml."""
    return load(REPOSITORY / "params.yaml")


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    """An empty project in a folder of its own: params.yaml and dvc.yaml, nothing has run yet."""
    return new_project(tmp_path / "project")


@pytest.fixture(scope="session")
def ingested(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Slice:
    """All Rotten Tomatoes sentences, ingested; only to be read."""
    from headway.stages.ingest import ingest

    chosen = params.override({"data.subset": "rotten_tomatoes"})
    layout = new_project(tmp_path_factory.mktemp("ingested") / "project")
    ingest(chosen, layout)
    return Slice(chosen, layout)


@pytest.fixture(scope="session")
def reviews(ingested: Slice, tmp_path_factory: pytest.TempPathFactory) -> Slice:
    """About 600 sentences in three encoded splits, made by the real stages; only to be read: all tests share it."""
    from headway.stages.prepare import prepare
    from headway.stages.tokenize import tokenize

    chosen = ingested.params.override({"data.max_rows": 600, "tokenizer.vocabulary_size": 2000})
    layout = new_project(tmp_path_factory.mktemp("reviews") / "project")
    shutil.copytree(ingested.layout.raw, layout.raw)
    prepare(chosen, layout)
    tokenize(chosen, layout)
    return Slice(chosen, layout)


@pytest.fixture
def own_reviews(reviews: Slice, tmp_path: Path) -> Slice:
    """The same slice in a folder of the test's own, to write into."""
    root = tmp_path / "reviews"
    shutil.copytree(reviews.layout.root, root)
    return Slice(reviews.params, Layout(root))


def new_project(root: Path) -> Layout:
    """A folder with copies of the files that make a project."""
    root.mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(REPOSITORY / name, root / name)
    return Layout(root)
