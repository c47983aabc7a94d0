"""The fingerprint of the deciding code: it changes with that code, with Headway and with its libraries, and with nothing else."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from headway.promotion import gate_code as module
from headway.promotion.gate_code import DECIDING, gate_code, sha256_of_module

#: Code that computes a decision, and code that stores and shows one.
COMPUTING = ("headway.promotion.", "headway.evaluation.", "headway.model.", "headway.serving.", "headway.data.")
NOT_DECIDING = ("headway.registry", "headway.reporting", "headway.stages", "headway.tracking")


def test_the_fingerprint_changes_with_headways_version_and_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    known = gate_code()
    assert gate_code() == known
    monkeypatch.setattr(module, "__version__", "99")
    assert gate_code() != known
    monkeypatch.undo()
    monkeypatch.setattr(module, "version", lambda library: "99" if library == "scipy" else "1")
    assert gate_code() != known


@pytest.mark.parametrize("name", DECIDING)
def test_the_fingerprint_changes_with_every_deciding_module(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known, of_module = gate_code(), sha256_of_module
    monkeypatch.setattr(module, "sha256_of_module", lambda one: "edited" if one == name else of_module(one))
    assert gate_code() != known


def test_an_unknown_module_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError):
        sha256_of_module("headway.promotion.no_such_module")


def test_a_package_is_hashed_with_all_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "hashed_package" / "inner"
    folder.mkdir(parents=True)
    for file in (folder / "__init__.py", folder.parent / "__init__.py", folder / "deep.py"):
        file.write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    known = sha256_of_module("hashed_package")
    (folder / "deep.py").write_text("x = 1\n")
    assert sha256_of_module("hashed_package") != known


def test_what_the_gate_imports_of_promotion_and_evaluation_is_in_the_fingerprint() -> None:
    """A module that the gate or the scoring imports decides too."""
    for name in ("gate", "checks", "accuracy_checks", "scoring"):
        spec = find_spec(f"headway.promotion.{name}")
        assert spec is not None
        assert spec.origin is not None
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        deciding = {one for one in imported if one.startswith(COMPUTING)}
        assert {one for one in deciding if not any(f"{one}.".startswith(f"{known}.") for known in DECIDING)} == set()


def test_storing_and_showing_a_decision_is_not_in_the_fingerprint() -> None:
    assert not [name for name in DECIDING if name.startswith(NOT_DECIDING)]
