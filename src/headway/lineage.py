"""Lineage of a result: hashes of the commit, dvc.lock, data, params and code that it was made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headway import yaml_files
from headway.files import read_json, sha256_of_file, sha256_of_json
from headway.git import GitError, commit_hash, git
from headway.layout import Layout
from headway.params import Params

#: Sections of params.yaml that no stage reads: they determine what is done with a result, not the result.
AFTERWARDS = {"gate", "registry", "serving"}
#: The stage that draws pages and plots: no candidate and no decision is based on its outs.
PAGES = "report"
#: Ending of a commit's hash where tracked files differ from it.
CHANGED = "+changes"


@dataclass(frozen=True)
class Lineage:
    """Identity of everything that a result was made from.

    Attributes:
        git_commit: see :func:`git_commit`.
        dvc_lock: hex SHA-256 of dvc.lock; "" if it does not exist.
        data_fingerprint: hex SHA-256 of the ingested rows; "" before ingestion.
        params: hex SHA-256 of params.yaml's values.
    """

    git_commit: str
    dvc_lock: str
    data_fingerprint: str
    params: str

    def as_tags(self) -> dict[str, str]:
        """Tags for an MLflow run or model version."""
        return {f"headway.{name}": value for name, value in asdict(self).items()}


def trace(params: Params, layout: Layout) -> Lineage:
    """The lineage of the project's current state."""
    return Lineage(
        git_commit=git_commit(layout),
        dvc_lock=sha256_of_file(layout.lock) if layout.lock.is_file() else "",
        data_fingerprint=data_fingerprint(layout),
        params=sha256_of_json(params.model_dump()),
    )


def data_fingerprint(layout: Layout) -> str:
    """SHA-256 of the ingested rows, from their manifest; "" before ingestion."""
    manifest = layout.raw / "manifest.json"
    return read_json(manifest, made_by="ingest")["rows_sha256"] if manifest.is_file() else ""


def code_fingerprint(layout: Layout, stage: str = "") -> str:
    """SHA-256 of the files in the code folders that dvc.yaml lists as dependencies of a stage, or of all stages but ``report``.

    A test checks that these are all folders whose code affects the stage's outs.
    """
    stages = _stages(layout.graph)
    chosen = [stages[stage]] if stage else [entry for name, entry in stages.items() if name != PAGES]
    folders = {dep for entry in chosen for dep in entry.get("deps", []) if dep.startswith("src/")}
    files = {file for folder in folders for file in (layout.root / folder).rglob("*") if _is_code(file)}
    return sha256_of_json({file.relative_to(layout.root).as_posix(): sha256_of_file(file) for file in files})


def results_fingerprint(layout: Layout) -> str:
    """SHA-256 of what dvc.lock says of all stages but ``report``: what a decision is based on; "" if it does not exist."""
    if not layout.lock.is_file():
        return ""
    return sha256_of_json({name: entry for name, entry in _stages(layout.lock).items() if name != PAGES})


def _stages(file: Path) -> dict[str, Any]:
    """The stages in dvc.yaml or dvc.lock, by name; HeadwayError if it cannot be read."""
    stages: dict[str, Any] = yaml_files.load_mapping(file).get("stages") or {}
    return stages


def _is_code(file: Path) -> bool:
    """Whether a file is code or a template, not a cache of Python's or a backup of an editor's."""
    return file.is_file() and file.suffix in (".py", ".html", ".js", ".css", ".md")


def execution_key(params: Params, layout: Layout) -> str:
    """Identity of a pipeline execution: a hash of the params that stages read, the data, the stage graph and the code.

    A restarted execution has the same key, by which it finds its MLflow run.
    """
    values = params.model_dump(exclude=AFTERWARDS)
    return sha256_of_json([values, data_fingerprint(layout), sha256_of_file(layout.graph), code_fingerprint(layout)])


def git_commit(layout: Layout) -> str:
    """Hash of HEAD, followed by "+changes" if tracked files differ from it; "" without git or without a commit.

    Changes of dvc.lock and the metrics do not count, because every run rewrites them; the hash of dvc.lock identifies them.
    HeadwayError if git does not read the repository because it belongs to another user.
    """
    outputs = [path.relative_to(layout.root).as_posix() for path in (layout.lock, layout.metrics("*"))]
    pathspecs = [":/", *(f":(exclude){path}" for path in outputs)]
    try:
        head = git(layout.root, "rev-parse", "HEAD")
        changes = git(layout.root, "status", "--porcelain", "--untracked-files=no", "--", *pathspecs)
    except GitError:
        return ""
    return f"{head}{CHANGED}" if changes else head


def commit_of(layout: Layout, revision: str) -> str:
    """Hash of the commit that a revision, such as HEAD or a branch, names; "" if there is none."""
    try:
        return commit_hash(layout.root, revision)
    except GitError:
        return ""
