"""Which model a command asks: the champion, another version, or the candidate."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.project import registry
from headway.errors import HeadwayError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from headway.registry.registry import Registry
    from headway.serving.package import ModelPackage

Version = Annotated[str, typer.Option("--version", help="Number of a registered version, instead of the champion.")]
Candidate = Annotated[bool, typer.Option("--candidate", help="Use the model that was trained last, in models/candidate.")]


def load_model(version: str, candidate: bool) -> ModelPackage:
    """The champion, a version by its number, or the candidate, for which MLflow is not needed."""
    from headway.serving.package import ModelPackage

    _require_one(version, candidate)
    if candidate:
        return ModelPackage.load(_candidate())
    from headway.promotion.champion import load_champion

    _, registered = registry()
    return registered.load(_named(registered, version)) if version else load_champion(registered)


@contextmanager
def model_folder(version: str, candidate: bool) -> Iterator[tuple[Path, str]]:
    """A folder with a copy of the same model's package, which exists within the block, and the model's name for an output."""
    from headway.files import TEMPORARY_PREFIX
    from headway.serving.package import fingerprint

    _require_one(version, candidate)
    if candidate:
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as scratch:
            folder = Path(scratch) / "candidate"  # a copy, because a run may replace the candidate meanwhile
            try:
                shutil.copytree(_candidate(), folder)
            except OSError:
                raise HeadwayError(
                    "the candidate cannot be copied; if a run is replacing it, wait until that ends, and check the disk's space"
                ) from None
            yield folder, f"candidate-{fingerprint(folder)[:12]}"
        return
    from headway.promotion.champion import require_champion, retirement_advised

    _, registered = registry()
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as scratch:
        if version:
            found = _named(registered, version)
            folder = registered.fetch_into(found, Path(scratch))
        else:
            found = require_champion(registered)
            with retirement_advised():
                folder = registered.fetch_into(found, Path(scratch))
        yield folder, str(found.version)


def _require_one(version: str, candidate: bool) -> None:
    if version and candidate:
        raise HeadwayError("--version and --candidate name different models; pass one of them")


def _candidate() -> Path:
    from headway.layout import Layout

    folder = Layout.find().candidate
    if not folder.is_dir():
        raise HeadwayError(f"{folder}: there is no candidate yet; `headway run` trains one")
    return folder


def _named(registered: Registry, version: str) -> ModelVersion:
    found = registered.version(version)
    if found is None:
        raise HeadwayError(f"{registered.name} has no version {version}; `headway history` lists the versions decided on")
    return found
