"""A model that answers requests: its package, checked in every way, with its name and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway.serving.package import ModelPackage, fingerprint, replay
from headway.serving.package.config import Config, read_config

#: Characters of the fingerprint in the version of a model that is not registered.
SHOWN = 12


@dataclass(frozen=True)
class ServedModel:
    """A model that answers.

    Attributes:
        package: turns texts into probabilities.
        name: of the registered model, or of the package's folder.
        version: number of the registered version; for a folder ``package-`` and the beginning of the fingerprint.
        fingerprint: hex SHA-256 of the package.
        about: facts as JSON, see :func:`load`; what is unknown is left out.
    """

    package: ModelPackage
    name: str
    version: str
    fingerprint: str
    about: Mapping[str, Any]


def load(folder: Path, name: str, version: str = "", about: Mapping[str, Any] | None = None) -> ServedModel:
    """Load a package, with its hashes checked and its golden predictions replayed.

    Args:
        name: of the registered model; by convention the folder's name if it is not registered.
        version: number of the registered version, "" if the model is not registered.
        about: what the registry knows about the version. The package's own facts are added: ``classes``, ``format``,
            ``parts`` with their sizes, the pretrained ``encoder`` with its ``licence``, and how well the ``golden`` predictions
            agree.

    Raises:
        HeadwayError: a file is missing or damaged, or the model gives other probabilities than when it was saved.
    """
    package = ModelPackage.load(folder)
    difference = replay(package)
    digest = fingerprint(folder)
    facts = _facts(read_config(folder), difference)
    return ServedModel(package, name, version or f"package-{digest[:SHOWN]}", digest, {**facts, **(about or {})})


def _facts(config: Config, difference: float) -> dict[str, Any]:
    """What a package's config says about the model, as JSON."""
    encoder = config.pretrained
    attention: dict[str, Any] = config.model.model_dump() if config.model else {}
    if encoder:
        attention = {"pooling": encoder.pooling, "max_length": encoder.max_length}
    facts: dict[str, Any] = {
        "classes": config.classes,
        "format": config.format,
        "max_length": config.max_length,
        "vocabulary_size": config.vocabulary_size,
        "parts": {"attention": attention, **({"ngrams": config.ngrams.model_dump()} if config.ngrams else {})},
    }
    if config.golden:
        facts["golden"] = {"texts": len(config.golden), "largest_difference": difference}
    if encoder:
        facts["encoder"] = {"family": encoder.config["model_type"], **encoder.origin}
        if licence := encoder.origin.get("licence"):
            facts["licence"] = licence
    return facts
