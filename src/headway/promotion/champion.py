"""Who is champion. A decision is appended to the history first; then the registry is brought in line with the history.

Once a decision is in the history, it is final. Its effects (the alias, the tags and files of the version) are carried out by
the next process that reconciles, so a kill at any point loses nothing. Of two concurrent decisions only one can be appended,
so two promotions at once cannot both succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from headway.errors import HeadwayError
from headway.foreign_text import markdown
from headway.promotion import history
from headway.promotion import history_queries as queries
from headway.promotion.decision import DECLINE, REFUSAL, REQUEST, RETIREMENT, Decision, new_decision
from headway.registry.record_log import LogConflict
from headway.registry.registry import Registry, ref_of
from headway.registry.unusable_version import UnusableVersion
from headway.registry.version_ref import DECISION_KIND_TAG as DECISION_KIND_TAG
from headway.registry.version_ref import DECISION_TAG as DECISION_TAG
from headway.registry.version_ref import LINEAGE_TAGS, ModelVersionRef
from headway.registry.version_ref import RETIRED_TAG as RETIRED_TAG
from headway.reporting.decision import card, page, summary

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from headway.serving.package import ModelPackage

ATTEMPTS = 5
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True)
class RegistryState:
    """History and registry, in agreement.

    ``completed`` are decisions that :func:`reconcile` has just carried out, left by a process that was killed.
    """

    decisions: list[Decision]
    champion: ModelVersion | None
    completed: list[Decision]

    @property
    def champion_ref(self) -> ModelVersionRef | None:
        """The champion as decisions refer to it."""
        return ref_of(self.champion) if self.champion else None

    @property
    def champion_number(self) -> str | None:
        """Version number of the champion."""
        return str(self.champion.version) if self.champion else None

    def completed_request(self, kind: str, reason: str, version: str | None = None) -> Decision | None:
        """The decision of the same command before it was killed, if :func:`reconcile` has just carried it out."""
        for one in self.completed:
            if (one.kind, one.reason) == (kind, reason) and version in (None, one.candidate.version):
                return one
        return None


def reconcile(registry: Registry, accept_manual_change: bool = False) -> RegistryState:
    """Carry out every decision that is not carried out yet, and return the state after that.

    Raises:
        HeadwayError: the history is broken; or a person moved the alias or deleted the champion, unless that is accepted,
            because the caller is about to decide on the champion.
    """
    completed: list[Decision] = []
    while True:
        # Read before the decisions, so that these are never behind it.
        carried_out, _ = registry.log.entries().carried_out
        decisions = history.decisions(registry)
        pending = decisions[carried_out:]
        if pending and registry.log.entries().last == decisions[-1].id:  # else a newer decision supersedes them
            _carry_out(registry, decisions, pending)
            completed += pending
        champion = registry.champion()
        # Another process may have decided meanwhile, and moved the alias before we did.
        if registry.log.entries().last == (decisions[-1].id if decisions else ""):
            break
    if not accept_manual_change and not _agree(decisions, champion):
        raise HeadwayError(_manual_change(registry, decisions, champion))
    return RegistryState(decisions, champion, completed)


def commit(registry: Registry, state: RegistryState, **content: Any) -> Decision:
    """Append a decision to the history and carry it out. A refusal or request that repeats the last decision is not appended.

    Args:
        registry, state: of the model; what the decision is based on.
        content: attributes of :class:`Decision`, without its place in the history and its time. Numbers that are not finite
            become None.

    Raises:
        LogConflict: another process decided since; nothing is recorded.
        HeadwayError: the registered model belongs to another project.
    """
    registry.require_own()
    last = state.decisions[-1] if state.decisions else None
    place = {"number": last.number + 1 if last else 1, "previous": last.id if last else ""}
    decision = new_decision(**content, **place)
    if last is not None and decision.kind in (REFUSAL, REQUEST) and decision.repeats(last):
        return last
    history.append(registry, decision)
    reconcile(registry, accept_manual_change=True)
    return decision


def retry_on_conflict(decide: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make a function decide again, up to :data:`ATTEMPTS` times, whenever another process has decided first.

    The LogConflict of the last attempt is raised.
    """

    @wraps(decide)
    def attempts(*arguments: Arguments.args, **more: Arguments.kwargs) -> Result:
        for _ in range(ATTEMPTS - 1):
            with suppress(LogConflict):
                return decide(*arguments, **more)
        return decide(*arguments, **more)

    return attempts


def require_champion(registry: Registry) -> ModelVersion:
    """The champion; HeadwayError that says why there is none."""
    champion = registry.champion()
    if champion is None:
        raise HeadwayError(f"model {registry.name} has no champion {_reason_for_none(history.decisions(registry))}")
    return champion


def load_champion(registry: Registry) -> ModelPackage:
    """The champion's package.

    Raises:
        Unreachable: its files cannot be fetched.
        HeadwayError: there is no champion (the message says why), or its files are lost or damaged.
    """
    return load_with_size(registry, require_champion(registry))[0]


def load_with_size(registry: Registry, champion: ModelVersion) -> tuple[ModelPackage, int]:
    """The champion's package and its size in bytes; the error for lost files also says how to go on without them."""
    with retirement_advised():
        return registry.load_with_size(champion)


@contextmanager
def retirement_advised() -> Iterator[None]:
    """Have the error for a champion's lost or damaged files also say how to go on without them."""
    try:
        yield
    except UnusableVersion as error:
        raise HeadwayError(
            f'{error}, or run `headway retire --reason "…"` so that the next run promotes a new first champion'
        ) from None


def lineage_of(version: ModelVersion) -> dict[str, str]:
    """The lineage that a version was registered with."""
    return {name: version.tags[name] for name in LINEAGE_TAGS if name in version.tags}


def artifact(decision: Decision) -> str:
    """The path of a decision's record and page among the artifacts of its candidate's run, without the ending."""
    return f"decisions/version-{decision.candidate.version}-{decision.number}-{decision.id[:12]}"


def _carry_out(registry: Registry, decisions: Sequence[Decision], pending: Sequence[Decision]) -> None:
    """Carry out the last decisions. Repeating it is harmless.

    The aliases move first, so that a failed artifact upload cannot block a promotion.
    """
    if any(decision.changes_champion for decision in pending):
        champion = queries.current_champion(decisions)
        version = registry.find(champion) if champion else None
        if champion is None or version is not None:
            registry.set_champion(version)
    for decision in pending:
        if decision.kind == DECLINE:
            registry.remove_challenger(decision.candidate)
    request, last = queries.open_request(decisions), queries.last_request(decisions)
    if request is not None and (waiting := registry.find(request.candidate)) is not None:
        registry.set_challenger(waiting)
    elif last is not None and any(decision.changes_champion for decision in pending):
        registry.remove_challenger(last.candidate)  # the change of champion ended the request, if nothing did before
    for decision in pending:
        _annotate(registry, decision)
    registry.log.mark_carried_out(decisions[-1].number, decisions[-1].id)


def _annotate(registry: Registry, decision: Decision) -> None:
    """Store a decision with its version and with the version's run, if these still exist."""
    version = registry.find(decision.candidate)
    if version is None:
        return
    files, links = {}, {}
    tags = {DECISION_KIND_TAG: decision.kind, DECISION_TAG: f"{decision.number} {decision.id}"}
    if version.run_id and registry.has_run(version.run_id):
        stem = artifact(decision)
        files = {f"{stem}.json": decision.as_json(), f"{stem}.html": page.render(decision)}
        tags[DECISION_TAG] = f"runs:/{version.run_id}/{stem}.json"
        run_path = partial(registry.tracker.run_path, version.run_id)
        links = {"training run": run_path(), "decision": run_path(f"{stem}.html")}
        if decision.checks:
            path = card.artifact(decision)
            files[path] = card.render(decision, registry.name)
            links["model card"] = run_path(path)
    if decision.kind == RETIREMENT:
        tags[RETIRED_TAG] = f"{decision.when}: {decision.reason}"
    registry.annotate(version, tags, f"{markdown(decision.headline)}\n\n{summary.render(decision, links)}", files)


def _agree(decisions: Sequence[Decision], champion: ModelVersion | None) -> bool:
    """Whether the alias names the history's champion. Without a history, any version may have it."""
    return queries.last_change(decisions) is None or (champion and ref_of(champion)) == queries.current_champion(decisions)


def _manual_change(registry: Registry, decisions: Sequence[Decision], champion: ModelVersion | None) -> str:
    """How registry and history differ, and what a person can do about it."""
    last, expected = queries.last_change(decisions), queries.current_champion(decisions)
    assert last is not None
    cause = "was changed by hand"
    if late := _carried_out_late(decisions, last, champion):
        cause += f", or by a process that carried out record {late.number} too late and was killed"
    by_history = f"version {expected.version}" if expected else "none"
    found = f"version {champion.version}" if champion else "none"
    remedies = []
    if expected and registry.find(expected) is None:
        by_history += ", which was deleted"
        remedies.append("`headway rollback --reason …` restores the previous champion")
    elif expected:
        remedies.append(f"`headway rollback --to {expected.version} --reason …` restores it")
    if champion:
        remedies.append(f"`headway promote {champion.version} --force --reason …` records version {champion.version}")
    remedies.append("`headway retire --reason …` records that there is no champion")
    return (
        f"the champion of {registry.name} {cause}: the history (record {last.number}) has {by_history}, "
        f"the registry has {found}; {', '.join(remedies)}"
    )


def _carried_out_late(decisions: Sequence[Decision], last: Decision, champion: ModelVersion | None) -> Decision | None:
    """An earlier decision that agrees with the registry: its process may have been overtaken by another, then killed."""
    found = champion and ref_of(champion)
    changes = [decision for decision in decisions[: last.number - 1] if decision.changes_champion]
    return next((one for one in reversed(changes) if (one.candidate if one.appoints else None) == found), None)


def _reason_for_none(decisions: Sequence[Decision]) -> str:
    """Why there is no champion, and how to get one."""
    last = decisions[-1] if decisions else None
    if (request := queries.open_request(decisions)) is not None:
        version = request.candidate.version
        return f'yet; version {version} waits for approval: `headway approve {version} --reason "…"` promotes it'
    if last is not None and last.kind == RETIREMENT:
        return (
            f"since version {last.candidate.version} was retired ({last.reason}); `make run` promotes another model, "
            "or this one if it is trained again after its files were lost"
        )
    if last is None or last.kind != REFUSAL or not last.failed:
        return "yet; `make run` promotes one"
    return (
        f"yet; version {last.candidate.version} was refused: {last.failed[0].explanation}; "
        "add rows, improve the model or relax gate.* in params.yaml, then `make run`; "
        f"ask the refused model with `headway predict --version {last.candidate.version}`"
    )
