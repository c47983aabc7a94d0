"""Lineage both ways: from a version to the run, commit, lock, data and params behind it; from a commit or run to its versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.layout import Layout
from headway.lineage import commit_of
from headway.promotion import history
from headway.promotion.decision import Decision
from headway.registry.registry import MODEL_TAG, Registry

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

COMMIT_TAG, KIND_TAG = "headway.git_commit", "headway.kind"
#: Labels of a version's or run's lineage tags.
ORIGINS = {
    "git commit": COMMIT_TAG,
    "dvc.lock": "headway.dvc_lock",
    "data": "headway.data_fingerprint",
    "params": "headway.params",
}
#: Fewest characters by which a commit or run can be named.
MIN_PREFIX = 7


def trace_back(registry: Registry, layout: Layout, name: str) -> list[str]:
    """The lineage of a version, commit or run, as lines of text.

    The name is the number of a version; the hash of a commit, its beginning, or a revision that the project's git repository
    knows; or the id of a run or its beginning.

    Raises:
        HeadwayError: the name is unknown or ambiguous.
    """
    versions, runs = registry.versions(), registry.runs()
    found = _resolve(name, versions, runs, layout)
    decisions = history.decisions(registry)
    if not found and (lines := _removed_version_lines(registry, name, decisions)):
        return lines
    if not found:
        raise HeadwayError(
            f"{name}: neither a version of {registry.name}, nor a run of experiment "
            f"{registry.tracker.params.registry.experiment}, nor a commit of one; "
            f"give a version number, or at least {MIN_PREFIX} characters of a commit or run"
        )
    if len(found) > 1:
        raise HeadwayError(
            f"{name}: ambiguous, {' or '.join(f'{kind} {full}' for kind, full in found)}; give more characters"
        )
    ((kind, full),) = found
    lines, chosen = _matching(kind, full, versions, runs)
    for version in chosen:
        lines += _version_lines(registry, version, runs, decisions)
    return lines if chosen else [*lines, f"no version of {registry.name} was made from it"]


def _resolve(name: str, versions: Sequence[ModelVersion], runs: Mapping[str, Run], layout: Layout) -> list[tuple[str, str]]:
    """What a name may refer to: pairs of version, run or commit, and the full name."""
    found = [("version", str(version.version)) for version in versions if str(version.version) == name]
    commits = {_commit(one.tags) for one in versions} | {_commit(run.data.tags) for run in runs.values()}
    if len(name) >= MIN_PREFIX:
        found += [("run", run) for run in runs if run.startswith(name)]
        found += [("commit", commit) for commit in sorted(commits - {""}) if commit.startswith(name)]
    if not found:
        resolved = commit_of(layout, name)
        found = [("commit", resolved)] if resolved in commits - {""} else []
    return found


def _matching(
    kind: str, name: str, versions: Sequence[ModelVersion], runs: Mapping[str, Run]
) -> tuple[list[str], list[ModelVersion]]:
    """Lines about the version, commit or run itself, and the versions that belong to it."""
    if kind == "version":
        return [], [version for version in versions if str(version.version) == name]
    if kind == "commit":
        count = sum(_commit(run.data.tags) == name for run in runs.values())
        return [f"commit {name}: {count:,} runs"], [version for version in versions if _commit(version.tags) == name]
    run = runs[name]
    related = {name, _parent(run)} - {""}
    related |= {other for other, child in runs.items() if _parent(child) == name}
    if run.data.tags.get(KIND_TAG) == "trial":  # the training in the same pipeline run used the search's result
        related |= {other for other, child in runs.items() if _parent(child) == _parent(run)}
    heading = [f"run {name}: {run.info.run_name}, {run.info.status}", *_origin_lines(run.data.tags)]
    return heading, [version for version in versions if version.run_id in related]


def _version_lines(
    registry: Registry, version: ModelVersion, runs: Mapping[str, Run], decisions: Sequence[Decision]
) -> list[str]:
    """A version, what it was made from, and the decisions on it."""
    aliases = f", {', '.join(version.aliases)}" if version.aliases else ""
    lines = [
        f"version {version.version} of {registry.name}{aliases}",
        _line("model package", version.tags.get(MODEL_TAG, "")),
    ]
    run = runs.get(version.run_id or "")
    status = f" ({run.info.run_name}, {run.info.status})" if run else " (deleted, or of another experiment)"
    lines.append(_line("run", (version.run_id or "") + (status if version.run_id else "")))
    if run and _parent(run):
        trials = sum(_parent(child) == _parent(run) and child.data.tags.get(KIND_TAG) == "trial" for child in runs.values())
        lines += [_line("pipeline run", _parent(run)), _line("search", f"{trials:,} trials below that run")]
    return [*lines, *_origin_lines(version.tags), *_decision_lines(decisions, str(version.version))]


def _removed_version_lines(registry: Registry, number: str, decisions: Sequence[Decision]) -> list[str]:
    """What the history knows of a version that MLflow no longer has; nothing if it knows no such version."""
    last = next((one for one in reversed(decisions) if one.candidate.version == number), None)
    if last is None:
        return []
    return [
        f"version {number} of {registry.name}, removed from MLflow",
        _line("model package", last.candidate.model),
        _line("run", last.candidate.run),
        *_origin_lines(last.lineage),
        *_decision_lines(decisions, number),
    ]


def _decision_lines(decisions: Sequence[Decision], number: str) -> list[str]:
    return [
        _line(f"decision {one.number}", f"{one.when}, {one.kind}, {one.id}")
        for one in decisions
        if one.candidate.version == number
    ]


def _origin_lines(tags: Mapping[str, str]) -> list[str]:
    return [_line(label, tags.get(tag, "")) for label, tag in ORIGINS.items()]


def _line(name: str, value: str) -> str:
    return f"  {name:<14} {value or 'absent'}"


def _parent(run: Run) -> str:
    """Id of the run that a run is nested in, "" if none."""
    return str(run.data.tags.get("mlflow.parentRunId", ""))


def _commit(tags: Mapping[str, str]) -> str:
    return tags.get(COMMIT_TAG, "").partition("+")[0]
