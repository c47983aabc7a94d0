"""Checks that a version was not trained on the current test rows, by the knobs that split the data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headway.errors import HeadwayError
from headway.params import Params
from headway.promotion import history_queries as queries
from headway.promotion.decision import Decision
from headway.registry.registry import ref_of

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

#: Tag of a version: values of the splitting knobs when it was trained, as JSON.
SPLIT_TAG = "headway.split"


def split_tag(params: Params) -> dict[str, str]:
    """The tag for a version that is trained with these params."""
    return {SPLIT_TAG: json.dumps(_splitting_knobs(params.model_dump()))}


def require_unseen(version: ModelVersion, decisions: Sequence[Decision], params: Params, remedy: str) -> None:
    """Check that a version was trained with the data split of these params.

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
    changed = [name for name, value in current.items() if trained_with.get(name, value) != value]
    if changed:
        raise HeadwayError(
            f"version {version.version} was trained with another {', '.join(changed)}, so the current test rows may be among "
            f"its training rows; restore that in params.yaml, {remedy}"
        )


def _splitting_knobs(params: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs that determine which rows are test rows."""
    predefined = {f"data.{name}": params["data"][name] for name in ("test_files", "hub_test_split")}
    return {**{f"split.{name}": value for name, value in params["split"].items()}, **predefined}
