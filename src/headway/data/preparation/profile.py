"""What the data are like, as one dictionary: the data report draws it, and metrics are taken from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headway.data.preparation.scan import Scan
from headway.data.preparation.split_assignment import Assignment, leakage, split_by_row
from headway.data.preparation.validation import BAD, CODE, REASONS, plain_label
from headway.data.text.splits import SPLITS, TEST, TRAIN, UNLABELLED, VALIDATION
from headway.params import Params

BINS = 30
FILE_FACTS = ("name", "rows", "encoding", "encoding_guessed", "delimiter")


def profile(
    scan: Scan, assignment: Assignment, labels: Sequence[str], params: Params, manifest: Mapping[str, Any]
) -> dict[str, Any]:
    """Counts and shares over the labelled rows; of unlabelled ones, how many were kept, and why others were not.

    Args:
        scan: the rows as read.
        assignment: what became of them.
        labels: the classes, in their order.
        params: of the whole pipeline.
        manifest: of the source.
    """
    rows, split = scan.rows, assignment.split
    labelled = rows.given != UNLABELLED
    kept = (split != -1) & labelled
    reasons = np.bincount(assignment.reason[labelled], minlength=len(REASONS))
    unlabelled = np.bincount(assignment.reason[~labelled], minlength=len(REASONS))
    counts = {reason: int(reasons[CODE[reason]]) for reason in REASONS[1:-1]}
    classes = _classes(rows.label, split, scan.labels, labels)
    lengths = scan.characters[kept]
    usable = max(1, sum(scan.scripts.values()))
    before = leakage(rows, *split_by_row(rows, params.split))
    return {
        "source": manifest["source"],
        "version": manifest["version"],
        "files": [{name: file[name] for name in FILE_FACTS} for file in manifest["files"]],
        "data_left_aside": manifest["ignored_data_files"],
        "columns_that_differ": manifest["columns_that_differ"],
        "perhaps_cut": [file["name"] for file in manifest["files"] if _is_perhaps_cut(file, manifest["label_counts"])],
        "spellings": _spellings(manifest["label_counts"], labels),
        "rows_in": int(labelled.sum()),
        "rows_kept": int(kept.sum()),
        "rows_quarantined": counts,
        "rows_left_by_sampling": int(reasons[CODE["left by sampling"]]),
        "bad_share": round(bad_share(assignment, labelled), 6),
        "max_bad_share": params.data.max_bad_share,
        "remarks": {name: int(count) for name, count in sorted(scan.debris.items())},
        "classes": classes,
        "rare_classes": [entry["label"] for entry in classes if not entry["validation"] or not entry["test"]],
        "characters": _characters(lengths),
        "scripts": {name: round(count / usable, 6) for name, count in scan.scripts.most_common()},
        "duplicates": {
            "exact": counts["duplicate"],
            "near_rows": assignment.near_rows,
            "near_groups": assignment.near_groups,
        },
        "leakage": {
            "before": round(before, 6),
            "after": round(leakage(rows, split == TRAIN, split == TEST), 6),
            "test_rows": int((split == TEST).sum()),
        },
        "splits": {name: int((split == code).sum()) for code, name in enumerate(SPLITS)},
        "unlabelled_rows": int((split == UNLABELLED).sum()),
        "unlabelled_quarantined": {
            reason: int(unlabelled[CODE[reason]]) for reason in REASONS[1:] if unlabelled[CODE[reason]]
        },
    }


def bad_share(assignment: Assignment, labelled: np.ndarray) -> float:
    """The share of the labelled rows that cannot be used: unreadable, incomplete, absurdly long, or contradictory."""
    bad = np.isin(assignment.reason, [CODE[reason] for reason in BAD])
    return float(bad[labelled].mean()) if labelled.any() else 0.0


def _classes(label: np.ndarray, split: np.ndarray, names: Sequence[str], order: Sequence[str]) -> list[dict[str, Any]]:
    counts = {
        name: np.bincount(label[(split == code) & (label >= 0)], minlength=len(names))
        for code, name in ((TRAIN, "train"), (VALIDATION, "validation"), (TEST, "test"))
    }
    code_of = {name: code for code, name in enumerate(names)}
    return [{"label": name, **{part: int(count[code_of[name]]) for part, count in counts.items()}} for name in order]


def _is_perhaps_cut(file: Mapping[str, Any], label_counts: Mapping[str, int]) -> bool:
    """Whether a file ends within a line, and what is there of it is no row, or has a label that no other row has."""
    label = file["unterminated_label"]
    return label is not None and (not label or label_counts.get(label, 0) <= 1)


def _spellings(label_counts: Mapping[str, int], labels: Sequence[str]) -> dict[str, list[str]]:
    """The labels that are written in more ways than one, with these; spaces around them do not count."""
    ways: dict[str, set[str]] = {}
    for label in label_counts:
        ways.setdefault(plain_label(label), set()).add(label.strip())
    return {label: sorted(ways[label]) for label in labels if len(ways.get(label, ())) > 1}


def _characters(lengths: np.ndarray) -> dict[str, Any]:
    low, high = int(lengths.min()), int(lengths.max())
    edges = np.unique(np.round(np.geomspace(max(1, low), max(high, low + 1) + 1, BINS + 1))).astype(int)
    return {
        "min": low,
        "median": int(np.median(lengths)),
        "p95": int(np.quantile(lengths, 0.95)),
        "max": high,
        "edges": edges.tolist(),
        "counts": np.histogram(lengths, edges)[0].tolist(),
    }
