"""Fingerprint of the code that decides. A refusal is reconsidered when this changes.

It covers the code that computes a decision: the gate and its statistics, metrics and slices, and the scoring of models. It
does not cover the code that shows or stores one.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from headway import __version__
from headway.files import sha256_of_json
from headway.promotion.decision import RECORD_VERSION

#: Modules, and packages with all modules below them.
DECIDING = (
    "headway.promotion.accuracy_checks",
    "headway.promotion.alpha_spending",
    "headway.promotion.bootstrap",
    "headway.promotion.candidates",
    "headway.promotion.check",
    "headway.promotion.checks",
    "headway.promotion.gate",
    "headway.promotion.history_queries",
    "headway.promotion.paired_predictions",
    "headway.promotion.paired_tests",
    "headway.promotion.promote",
    "headway.promotion.scoring",
    "headway.promotion.test_rows",
    "headway.promotion.unseen_rows",
    "headway.evaluation",
    "headway.model",
    "headway.serving.package",
    "headway.serving.latency",
    "headway.data.batching",
    "headway.data.text",
    "headway.data.tokenization",
)
LIBRARIES = ("numpy", "scipy", "scikit-learn", "tokenizers", "torch")


def gate_code() -> str:
    """Hex SHA-256 over Headway's version, the record format, the deciding code and the versions of its libraries."""
    code = {name: sha256_of_module(name) for name in DECIDING}
    return sha256_of_json([__version__, RECORD_VERSION, code, {name: version(name) for name in LIBRARIES}])


def sha256_of_module(name: str) -> str:
    """Hex SHA-256 over the source of a module, or of all modules of a package. The module itself is not imported.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(name)
    origin = Path(spec.origin)
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    files = sorted(file for folder in folders for file in folder.rglob("*.py")) or [origin]
    return sha256_of_json({file.relative_to(origin.parent).as_posix(): file.read_text(encoding="utf-8") for file in files})
