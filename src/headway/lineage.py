"""Where a result comes from: the commit, the lock, the data and the params, as hashes that can be compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from headway.files import read_json, sha256_of_file, sha256_of_json
from headway.git import GitError, git
from headway.layout import Layout
from headway.params import Params

#: Sections that no stage reads: they say what is done with a result, not how it is made.
AFTERWARDS = {"gate", "registry"}


@dataclass(frozen=True)
class Lineage:
    """Attributes: git_commit (see :func:`git_commit`), dvc_lock and data_fingerprint (hex SHA-256, "" when there is none
    yet), params (of all sections)."""

    git_commit: str
    dvc_lock: str
    data_fingerprint: str
    params: str

    def as_tags(self) -> dict[str, str]:
        """Tags for an MLflow run or version."""
        return {f"headway.{name}": value for name, value in asdict(self).items()}


def trace(params: Params, layout: Layout) -> Lineage:
    """The lineage of what the project holds now."""
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
    """SHA-256 over the files of the code folders that dvc.yaml names as dependencies of a stage, or of any stage.

    A test checks that these are all the folders whose code shapes the stage's outs.
    """
    from ruamel.yaml import YAML

    stages = YAML(typ="safe").load(layout.graph)["stages"]
    chosen = [stages[stage]] if stage else stages.values()
    folders = {dep for entry in chosen for dep in entry.get("deps", []) if dep.startswith("src/")}
    files = {file for folder in folders for file in (layout.root / folder).rglob("*") if _is_code(file)}
    return sha256_of_json({file.relative_to(layout.root).as_posix(): sha256_of_file(file) for file in files})


def _is_code(file: Path) -> bool:
    """Whether a file is code or a template, and not something that Python or an editor leaves beside them."""
    return file.is_file() and file.suffix in (".py", ".html", ".js", ".css", ".md")


def execution_key(params: Params, layout: Layout) -> str:
    """Identity of a pipeline execution: the params that stages read, the data, the stage graph and the code.

    An execution that is killed and started again has the same key, which is how it finds its MLflow run again.
    """
    values = params.model_dump(exclude=AFTERWARDS)
    return sha256_of_json([values, data_fingerprint(layout), sha256_of_file(layout.graph), code_fingerprint(layout)])


def git_commit(layout: Layout) -> str:
    """HEAD's commit, with "+changes" behind it when tracked files differ from it; "" when there is no commit or no git.

    dvc.lock and the metrics are left out: a run rewrites them itself. What they hold is told by the lock's own hash.
    """
    head = _git(layout.root, "rev-parse", "HEAD")
    if not head:
        return ""
    outputs = [path.relative_to(layout.root).as_posix() for path in (layout.lock, layout.metrics("*"))]
    chosen = [":/", *(f":(exclude){path}" for path in outputs)]
    return head + ("+changes" if _git(layout.root, "status", "--porcelain", "--untracked-files=no", "--", *chosen) else "")


def commit_of(layout: Layout, revision: str) -> str:
    """The commit that git takes a revision for, as HEAD or a branch; "" when it knows none."""
    return _git(layout.root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")


def _git(root: Path, *words: str) -> str:
    """What git prints, or "" if it is not installed or reports an error."""
    try:
        return git(root, *words)
    except GitError:
        return ""
