"""The two sources of candidates: what the stages have just trained, and versions that are registered already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from headway.errors import HeadwayError
from headway.evaluation.metrics import evaluate
from headway.evaluation.predictions import Predictions
from headway.layout import Layout
from headway.lineage import trace
from headway.promotion import history_queries as queries
from headway.promotion.champion import RegistryState
from headway.promotion.decision import BASELINE, CANDIDATE
from headway.promotion.existing_decision import staged_scores
from headway.promotion.project import Project
from headway.promotion.scoring import ScoredModel
from headway.promotion.test_rows import TestRows
from headway.promotion.unseen_rows import require_unseen, split_tag, time_tag
from headway.registry.registry import Registry, ref_of
from headway.serving.latency import package_bytes
from headway.serving.package import ModelPackage
from headway.stages.train import training_run

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

Found = TypeVar("Found")


@dataclass(frozen=True)
class Candidate:
    """A registered version, scored on the test rows.

    ``baseline`` are the linear baseline's predictions of the same rows, or why there are none; ``scores`` are the test metrics of
    both; ``seen_rows`` says why the version may have been trained on test rows, "" if it was not.
    """

    version: ModelVersion
    scored: ScoredModel
    baseline: Predictions | HeadwayError
    scores: dict[str, dict[str, Any]]
    seen_rows: str = ""


def from_stages(project: Project, state: RegistryState, rows: TestRows) -> Candidate:
    """Register the stages' candidate, which stage evaluate has scored on these rows."""
    params, layout, registry = project.params, project.layout, project.registry
    run_id = training_run(params, layout, registry.tracker)
    tags = {**trace(params, layout).as_tags(), **split_tag(params), **time_tag(rows.table)}
    becomes_challenger = queries.open_request(state.decisions) is None
    version = registry.register(layout.candidate, run_id, tags, becomes_challenger)
    predictions = Predictions.load(layout.evaluation / "test.parquet", made_by="evaluate")
    scored = ScoredModel(ModelPackage.load(layout.candidate), predictions, package_bytes(layout.candidate))
    return Candidate(version, scored, _baseline(layout), staged_scores(layout))


def from_registry(project: Project, state: RegistryState, rows: TestRows, number: str, force: bool) -> Candidate:
    """Score a registered version on the current test rows.

    Args:
        project, state: the project, and the state of its registry.
        rows: the current test rows.
        number: of the version.
        force: accept a version that may have seen the test rows, and a missing baseline; the gate reports both.

    Raises:
        HeadwayError: its files are lost or damaged; or, without force, it may have seen the test rows, or there is no
            baseline.
    """
    params, registry = project.params, project.registry
    version = require_version(registry, state, number)

    def unless_forced(call: Callable[[], Found]) -> Found | HeadwayError:
        try:
            return call()
        except HeadwayError as error:
            if not force:
                raise
            return error

    seen = unless_forced(lambda: require_unseen(version, state.decisions, params, rows.table, "or train it again"))
    scored = ScoredModel.score(*registry.load_with_size(version), rows, params)
    baseline = unless_forced(lambda: _baseline(project.layout))
    scores = {
        name: evaluate(one, params.evaluation, params.seed)
        for name, one in {CANDIDATE: scored.predictions, BASELINE: baseline}.items()
        if isinstance(one, Predictions)
    }
    return Candidate(version, scored, baseline, scores, str(seen) if seen else "")


def require_version(registry: Registry, state: RegistryState, number: str) -> ModelVersion:
    """The version of this number.

    Raises:
        HeadwayError: it does not exist, or is champion already.
    """
    version = registry.version(number)
    if version is None and any(one.candidate.version == number for one in state.decisions):
        raise HeadwayError(
            f"version {number} of {registry.name} was removed from MLflow, as `headway gc` does with old versions that never "
            f"were champion; `headway lineage {number}` shows what it was made from"
        )
    if version is None:
        raise HeadwayError(f"{registry.name} has no version {number}; `headway history` lists the versions decided on")
    if ref_of(version) == queries.current_champion(state.decisions) and number == state.champion_number:
        raise HeadwayError(f"version {number} of {registry.name} is champion already")
    return version


def _baseline(layout: Layout) -> Predictions:
    return Predictions.load(layout.baseline / "test.parquet", made_by="baseline")
