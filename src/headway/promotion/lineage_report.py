"""Lineage both ways: from a version to the run, commit, lock, data and params behind it; from a commit or run to the versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from headway.errors import HeadwayError
from headway.layout import Layout
from headway.lineage import commit_of
from headway.promotion.decision import Record
from headway.registry.registry import MODEL_TAG, Registry
from headway.tracking import reachable

COMMIT_TAG = "headway.git_commit"
#: Fewer digits of a commit or run may be anything.
SHORTEST = 7
MOST_RUNS = 50_000


def trace_back(registry: Registry, layout: Layout, what: str) -> list[str]:
    """The chain that a version, a commit or a run stands in, a line each.

    Args:
        what: a version's number; a commit's hash, a part of its beginning, or whatever git takes for one; a run's id or its
            beginning.

    Raises:
        HeadwayError: nothing is known by that name, or several things are.
    """
    with reachable(registry.tracker.uri):
        versions = registry.versions()
        runs = {
            str(run.info.run_id): run
            for run in registry.client.search_runs([registry.tracker.experiment_id], max_results=MOST_RUNS)
        }
    found = _meanings(what, versions, runs, layout)
    if not found:
        raise HeadwayError(
            f"{what}: no version of {registry.name}, no run of experiment {registry.tracker.params.registry.experiment} and no "
            f"commit that one was made from; give a version's number, or {SHORTEST} or more digits of a commit or run"
        )
    if len(found) > 1:
        raise HeadwayError(f"{what}: may be {' or '.join(f'{kind} {name}' for kind, name in found)}; give more of it")
    ((kind, name),) = found
    records = registry.history.records()
    heading, chosen = _chosen(kind, name, versions, runs)
    lines = [*heading]
    for version in chosen:
        lines += _block(registry, version, runs, records)
    return lines if chosen else [*lines, f"no version of {registry.name} came of it"]


def _meanings(what: str, versions: Sequence[ModelVersion], runs: Mapping[str, Run], layout: Layout) -> list[tuple[str, str]]:
    """What a word may name: (version, run or commit; its whole name)."""
    found = [("version", str(version.version)) for version in versions if str(version.version) == what]
    commits = {_commit(one.tags) for one in versions} | {_commit(run.data.tags) for run in runs.values()}
    if len(what) >= SHORTEST:
        found += [("run", run) for run in runs if run.startswith(what)]
        found += [("commit", commit) for commit in sorted(commits - {""}) if commit.startswith(what)]
    if not found:
        named = commit_of(layout, what)
        found = [("commit", named)] if named in commits - {""} else []
    return found


def _chosen(
    kind: str, name: str, versions: Sequence[ModelVersion], runs: Mapping[str, Run]
) -> tuple[list[str], list[ModelVersion]]:
    """What is said of the thing itself, and the versions that belong to it."""
    if kind == "version":
        return [], [version for version in versions if str(version.version) == name]
    if kind == "commit":
        of_it = [run for run in runs.values() if _commit(run.data.tags) == name]
        return [f"commit {name}: {len(of_it):,} runs"], [version for version in versions if _commit(version.tags) == name]
    run = runs[name]
    family = {name, _parent(run)} - {""}
    family |= {other for other, child in runs.items() if _parent(child) == name}
    if run.data.tags.get("headway.kind") == "trial":  # the training beside it took what the search found
        family |= {other for other, child in runs.items() if _parent(child) == _parent(run)}
    heading = [f"run {name}: {run.info.run_name}, {run.info.status}", *_origin(run.data.tags)]
    return heading, [version for version in versions if version.run_id in family]


def _block(registry: Registry, version: ModelVersion, runs: Mapping[str, Run], records: Sequence[Record]) -> list[str]:
    """A version and all that it came of."""
    aliases = f", {', '.join(version.aliases)}" if version.aliases else ""
    lines = [
        f"version {version.version} of {registry.name}{aliases}",
        _line("model package", version.tags.get(MODEL_TAG, "")),
    ]
    run = runs.get(version.run_id or "")
    status = f" ({run.info.run_name}, {run.info.status})" if run else " (deleted, or of another experiment)"
    lines.append(_line("run", (version.run_id or "") + (status if version.run_id else "")))
    parent = _parent(run) if run else ""
    if parent:
        trials = [child for child in runs.values() if _parent(child) == parent and _kind(child) == "trial"]
        lines += [_line("pipeline run", parent), _line("search", f"{len(trials):,} trials below that run")]
    lines += _origin(version.tags)
    for record in records:
        if record.candidate.version == str(version.version):
            lines.append(_line(f"decision {record.number}", f"{record.when}, {record.kind}, {record.id}"))
    return lines


def _origin(tags: Mapping[str, str]) -> list[str]:
    names = {"git commit": COMMIT_TAG, "dvc.lock": "headway.dvc_lock", "data": "headway.data_fingerprint"}
    return [_line(shown, tags.get(name, "")) for shown, name in {**names, "params": "headway.params"}.items()]


def _line(name: str, value: str) -> str:
    return f"  {name:<14} {value or 'absent'}"


def _commit(tags: Mapping[str, str]) -> str:
    return tags.get(COMMIT_TAG, "").partition("+")[0]


def _parent(run: Run) -> str:
    return str(run.data.tags.get(MLFLOW_PARENT_RUN_ID, ""))


def _kind(run: Run) -> str:
    return str(run.data.tags.get("headway.kind", ""))
