"""Fixtures for all tests: the repository's params, temporary projects, and a slice of real reviews.

The slice is made by the real stages, once per session.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from headway import environment

environment.configure()
os.environ.pop("MLFLOW_TRACKING_URI", None)  # tests track into their own project
os.environ.pop("HEADWAY_NOTIFY_FILE", None)  # and send no messages but to servers of their own

from headway.layout import Layout  # noqa: E402 - the environment is configured before modules that read it are imported
from headway.params import Params, load  # noqa: E402

hypothesis.settings.register_profile("headway", deadline=None)  # the time per example depends on the load of the machine
hypothesis.settings.load_profile("headway")

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Slice:
    """A project whose data stages have run on a few hundred Rotten Tomatoes sentences, and the params they ran with."""

    params: Params
    layout: Layout


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> Iterator[None]:
    """Make Ctrl+C raise and SIGHUP end the programs that tests start, even in the background of a shell or under nohup, which
    ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in zip((signal.SIGINT, signal.SIGHUP), before, strict=True):
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def subnormal_numbers() -> None:
    """Every test starts with subnormal numbers enabled. A training in an earlier test of this process switches them off."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def params() -> Params:
    """The repository's params.yaml."""
    return load(REPOSITORY / "params.yaml")


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    """A new project in a temporary folder: params.yaml and dvc.yaml, without any outputs."""
    return new_project(tmp_path / "project")


@pytest.fixture(scope="session")
def ingested(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Slice:
    """A project with all Rotten Tomatoes sentences, ingested. Read-only."""
    from headway.stages.ingest import ingest

    chosen = params.override({"data.subset": "rotten_tomatoes"})
    layout = new_project(tmp_path_factory.mktemp("ingested") / "project")
    ingest(chosen, layout)
    return Slice(chosen, layout)


@pytest.fixture(scope="session")
def reviews(ingested: Slice, tmp_path_factory: pytest.TempPathFactory) -> Slice:
    """A project with about 600 sentences in three encoded splits. Read-only, because all tests share it."""
    from headway.stages.prepare import prepare
    from headway.stages.tokenize import tokenize

    small = {"data.max_rows": 600, "tokenizer.vocabulary_size": 2000, "tokenizer.kind": "word"}
    chosen = ingested.params.override(small)
    layout = new_project(tmp_path_factory.mktemp("reviews") / "project")
    shutil.copytree(ingested.layout.raw, layout.raw)
    prepare(chosen, layout)
    tokenize(chosen, layout)
    return Slice(chosen, layout)


@pytest.fixture
def own_reviews(reviews: Slice, tmp_path: Path) -> Slice:
    """A copy of ``reviews`` that the test may modify."""
    root = tmp_path / "reviews"
    shutil.copytree(reviews.layout.root, root)
    return Slice(reviews.params, Layout(root))


@pytest.fixture(scope="session")
def tiny_encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as data/encoders, with tiny encoders named after their families, and a static one. Only to be read."""
    from tests import tiny_encoders as tiny

    parent = tmp_path_factory.mktemp("tiny") / "data" / "encoders"
    for family in tiny.FAMILIES:
        tiny.write_encoder(parent / family, family)
    tiny.write_static(parent / "static", mapped=True, weighted=True, normalize=True)
    return parent


def new_project(root: Path) -> Layout:
    """Create a project: a folder with copies of params.yaml and dvc.yaml."""
    root.mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(REPOSITORY / name, root / name)
    return Layout(root)
