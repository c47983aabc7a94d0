"""What a job leaves behind, as far as it has to be the same after a kill and a second run. Ids and times are left out."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.kills.comparison import ANSWERS, Outcome
from headway.files import sha256_of_file, sha256_of_json
from headway.layout import Layout
from headway.params import load
from headway.promotion import history
from headway.promotion.decision import Decision
from headway.registry.registry import MODEL_TAG, Registry
from headway.registry.version_ref import DECISION_KIND_TAG, MONITORING_TAG
from headway.serving.log.kept_labels import LABELS, QUARANTINE
from headway.serving.log.reading import read_log
from headway.serving.log.store import PartStore, located
from headway.tracking import Tracker

#: Folders and files that the stages write.
OUTS = ("data/raw", "data/prepared", "data/encoded", "results", "models/candidate", "metrics", "plots", "reports")
#: Pages that are drawn after the gate and name times and ids.
DATED = ("decision.html", "evaluation.html", "card.html", "index.html", "monitor.html", "monitoring.json")
JOB = re.compile(r"\b[0-9a-f]{16}(?=-\d{6}-\d+)")


def of_project(root: Path) -> Outcome:
    """Files of the stages, dvc.lock, weights, registered versions, aliases, decisions, and the runs in MLflow."""
    layout = Layout(root)
    registry = _registry(layout)
    decisions, problem = history.examine(registry)
    runs = registry.runs().values()
    statuses = Counter((run.data.tags.get("headway.kind", ""), run.info.status) for run in runs)
    weights = layout.candidate / "weights.safetensors"
    return {
        "dvc.lock": sha256_of_file(layout.lock) if layout.lock.exists() else "",
        "weights": sha256_of_file(weights) if weights.exists() else "",
        "files": dict(_hashes(root, OUTS)),
        "pages": sorted(path.name for path in layout.reports.glob("*")),
        "versions": [
            [version.version, sorted(version.aliases), *_tags(version.tags), registry.loads(version)]
            for version in registry.versions()
        ],
        "history": [_comparable(one) for one in decisions],
        "chain": problem or "whole",
        "all decisions carried out": registry.log.entries().carried_out[0] == len(decisions),
        "finished runs": {kind: number for (kind, status), number in sorted(statuses.items()) if status == "FINISHED"},
        "runs still open": sum(number for (_, status), number in statuses.items() if status == "RUNNING"),
    }


def of_batch(root: Path) -> Outcome:
    """The labelled file, and the rows of the prediction log. The job's own id, which request ids begin with, is left out."""
    written = (root / ANSWERS).read_text(encoding="utf-8")
    rows = [JOB.sub("job", json.dumps(row)) for row in _rows_of_log(root)]
    return {
        "labelled file": hashlib.sha256(JOB.sub("job", written).encode()).hexdigest(),
        "ids in the file and the log": set(JOB.findall(written)) == {row["request_id"][:16] for row in _rows_of_log(root)},
        "rows in the log": len(rows),
        "log": sha256_of_json(sorted(rows)),
        "folder of parts": (root / f".{ANSWERS}.parts").exists(),
    }


def of_monitoring(root: Path) -> Outcome:
    """The record, the page, the state in the log's folder, and what the version in MLflow got."""
    layout = Layout(root)
    registry = _registry(layout)
    champion = registry.champion()
    assert champion is not None
    assert champion.run_id is not None
    names = [name for name in registry.client.get_run(champion.run_id).data.metrics if name.startswith("monitor")]
    metrics = {
        name: sorted({(one.step, one.value) for one in registry.client.get_metric_history(champion.run_id, name)})
        for name in sorted(names)
    }
    state = [path for path in (_log(root) / "monitor").iterdir() if not path.name.startswith(".")]
    return {
        "record": sha256_of_json(_without_root(layout.reports / "monitoring.json", root)),
        "page": sha256_of_json(_without_root(layout.reports / "monitor.html", root)),
        "state": {path.name: sha256_of_file(path) for path in sorted(state)},
        "tag in MLflow": champion.tags.get(MONITORING_TAG, ""),
        "metrics in MLflow": metrics,
        "files in MLflow": sorted(one.path for one in registry.client.list_artifacts(champion.run_id, "monitoring")),
    }


def of_labels(root: Path) -> Outcome:
    """The labels beside the log and those that were put aside: which ones, and how many rows."""
    store = PartStore.open(str(_log(root))).below(LABELS)
    kept = _labels_in(store, ["request_id", "text_sha256", "label"])
    aside = _labels_in(store.below(QUARANTINE), ["request_id", "text_sha256", "label", "reason"])
    return {
        "labels": sha256_of_json(sorted(set(kept))),
        "rows with labels": len(kept),
        "put aside": sha256_of_json(sorted(set(aside))),
        "rows put aside": len(aside),
    }


#: By the name of the kind, for :func:`benchmarks.kills.commands.observe`.
OUTCOMES: Mapping[str, Callable[[Path], Outcome]] = {
    "project": of_project,
    "batch": of_batch,
    "monitoring": of_monitoring,
    "labels": of_labels,
}


def _registry(layout: Layout) -> Registry:
    return Registry(Tracker(load(layout.params), layout))


def _hashes(root: Path, names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        for path in sorted((root / name).rglob("*")):
            if path.is_file() and path.name not in DATED:
                yield path.relative_to(root).as_posix(), sha256_of_file(path)


def _tags(tags: Mapping[str, str]) -> tuple[str, str]:
    return tags.get(MODEL_TAG, ""), tags.get(DECISION_KIND_TAG, "")


def _comparable(decision: Decision) -> dict[str, Any]:
    """A decision without its time and the ids of runs and of the decision before. Of the latency only whether it passed stays."""
    content = decision.model_dump(mode="json", exclude={"when", "previous", "requested_by"})
    for name in ("candidate", "champion"):
        if content[name]:
            del content[name]["run"]
    content["checks"] = [
        {"name": one["name"], "passed": one["passed"]} if one["name"] == "latency" else one for one in content["checks"]
    ]
    return content


def _log(root: Path) -> Path:
    return Path(located(load(Layout(root).params).serving.log, root).folder)


def _rows_of_log(root: Path) -> list[dict[str, Any]]:
    params = located(load(Layout(root).params).serving.log, root)
    names = ["request_id", "version", "role", "label", "probability", "text_sha256"]
    return [row for batch in read_log(params, columns=names) for row in batch.to_pylist()]


def _labels_in(store: PartStore, names: list[str]) -> list[str]:
    return [json.dumps(row) for part in store.parts() for row in store.read(part, names).select(names).to_pylist()]


def _without_root(path: Path, root: Path) -> str:
    return path.read_text(encoding="utf-8").replace(str(root), "")
