"""Checks that a version was not trained on the current test rows, by the knobs that split the data and, by time, the border."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from headway.errors import HeadwayError
from headway.evaluation.over_time import times_of
from headway.params import Params
from headway.promotion import history_queries as queries
from headway.promotion.decision import Decision
from headway.registry.registry import ref_of

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

#: Tag of a version: values of the splitting knobs when it was trained, as JSON.
SPLIT_TAG = "headway.split"
#: Tag of a version whose data were split by time: the time of its first test row, before which all rows that it has seen are.
TEST_FROM_TAG = "headway.test_from"
#: Knobs that versions of Headway before 0.2.0 did not have, with the values that say the same.
ADDED = {"split.time_column": ""}
#: Which rows are test rows does not depend on it.
WITHOUT_EFFECT = "train_until"


def split_tag(params: Params) -> dict[str, str]:
    """The tag for a version that is trained with these params."""
    return {SPLIT_TAG: json.dumps(_splitting_knobs(params.model_dump()))}


def time_tag(test_rows: pa.Table) -> dict[str, str]:
    """The tag for a version whose test rows these are; none if they are not split by time."""
    times = times_of(test_rows)
    return {} if times is None else {TEST_FROM_TAG: str(times.min())}


def require_unseen(
    version: ModelVersion, decisions: Sequence[Decision], params: Params, test_rows: pa.Table, remedy: str
) -> None:
    """Check that a version was trained with the data split of these params, and if it is by time, before the test rows.

    The history has the params of versions that were registered without the tag. The remedy, what else a person can do, is for
    the message.

    Raises:
        HeadwayError: the split differs or is unknown, so the current test rows may be among the version's training rows.
    """
    if SPLIT_TAG in version.tags:
        trained_with = json.loads(version.tags[SPLIT_TAG])
    elif known := queries.training_params(decisions, ref_of(version).model):
        trained_with = _splitting_knobs(known)
    else:
        raise HeadwayError(
            f"the data split that version {version.version} was trained with is unknown, so the current test rows may be among "
            f"its training rows; train it with `make run`, {remedy}"
        )
    current = _splitting_knobs(params.model_dump())
    changed = [name for name, value in current.items() if trained_with.get(name, ADDED.get(name, value)) != value]
    if changed:
        raise HeadwayError(
            f"version {version.version} was trained with another {', '.join(changed)}, so the current test rows may be among "
            f"its training rows; restore that in params.yaml, {remedy}"
        )
    _require_earlier(version, test_rows, remedy)


def _require_earlier(version: ModelVersion, test_rows: pa.Table, remedy: str) -> None:
    """Check that the test rows, if they are split by time, are not earlier than those of the version were."""
    times = times_of(test_rows)
    if times is None:
        return
    seen_before = version.tags.get(TEST_FROM_TAG)
    if seen_before is None:
        raise HeadwayError(
            f"it is unknown up to which time version {version.version} was trained, so the current test rows may be among its "
            f"training rows; train it with `make run`, {remedy}"
        )
    if times.min() < np.datetime64(seen_before):
        raise HeadwayError(
            f"the test rows begin at {times.min()}, but those of version {version.version} began at {seen_before}, because "
            f"earlier rows were added or later ones removed, so some may be among its training rows; add later rows, {remedy}"
        )


def _splitting_knobs(params: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs that determine which rows are test rows."""
    split = {f"split.{name}": value for name, value in params["split"].items() if name != WITHOUT_EFFECT}
    predefined = {f"data.{name}": params["data"][name] for name in ("test_files", "hub_test_split")}
    return {**split, **predefined}
