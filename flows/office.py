"""The verbs that change the office by hand, each alone in the project, like a flow: promote, roll back, retire."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from flows import server
from flows.execution import changed_stages, exclusive
from flows.verdict import Verdict, project_of, write_page
from headway import params as parameters
from headway.errors import HeadwayError, first_line
from headway.files import read_json, write_json
from headway.layout import Layout
from headway.params import Params
from headway.promotion import champion as office
from headway.promotion.champion import standing
from headway.promotion.decision import Record, asked_by
from headway.registry.registry import Registry
from headway.tracking import Tracker


@contextmanager
def _alone() -> Iterator[tuple[Params, Layout, Registry]]:
    """The project and its registry, while no flow runs in it."""
    layout = Layout.find()
    with exclusive(layout):
        params = parameters.load(layout.params)
        yield params, layout, Registry(Tracker(params, layout))


def promote(version: str, force: bool, reason: str) -> tuple[Verdict, Path]:
    """Put a version before the gate; the verdict, and where its page lies.

    Raises:
        HeadwayError: see :func:`flows.promotion.promote`; or a reason is missing, or given for nothing.
    """
    if force != bool(reason.strip()):
        raise HeadwayError('to promote a version whatever the gate says takes both: --force and --reason "…"')
    with _alone() as (params, layout, registry):
        from flows.promotion import promote as put_before_the_gate

        require = partial(_require_current, layout, {"ingest", "prepare"} if force else {"ingest", "prepare", "baseline"})
        asker = asked_by(f"headway promote {version}{' --force' if force else ''}")
        verdict = put_before_the_gate(params, layout, registry, version, asker, force, reason, require)
        assert verdict.record is not None
        return verdict, tell(layout, verdict.record)


def rollback(to: str | None, reason: str) -> tuple[Record, Path]:
    """Restore a former champion; the record, and where its page lies."""
    with _alone() as (params, layout, registry):
        command = f"headway rollback{f' --to {to}' if to else ''}"
        with _once(layout, registry, command, _given(reason)) as done:
            record = done or office.roll_back(registry, to, reason, asked_by(command), project_of(params, layout))
            return record, tell(layout, record)


def retire(reason: str) -> tuple[Record, Path]:
    """Take the champion out of office; the record, and where its page lies."""
    with _alone() as (params, layout, registry):
        command = "headway retire"
        with _once(layout, registry, command, _given(reason)) as done:
            record = done or office.retire(registry, reason, asked_by(command), project_of(params, layout))
            return record, tell(layout, record)


def _require_current(layout: Layout, stages: set[str]) -> None:
    """Return when the test rows, and what they are compared with, are those that params.yaml and dvc.lock speak of.

    Where DVC cannot tell, as in a copy without its folder, nothing is required.

    Raises:
        HeadwayError: they are older, and the record would say otherwise.
    """
    changed = sorted(stages & (changed_stages(layout) or set()))
    if changed:
        raise HeadwayError(
            f"params.yaml, the data or the code changed since {', '.join(changed)} ran, so that the rows here are not those that "
            "a decision would name; `dvc repro baseline`, or put the change back, then promote"
        )


@contextmanager
def _once(layout: Layout, registry: Registry, command: str, reason: str) -> Iterator[Record | None]:
    """The record that this very command has left, if it was killed before it could say so; None when it is given afresh.

    Else a rollback that is given again would go back once more.
    """
    begun = layout.scratch / "by-hand.json"
    last = registry.history.last()
    asked = {"command": command, "reason": reason}
    left = read_json(begun, made_by="this command") if begun.is_file() else {}
    done = None
    if left != {**asked, "after": left.get("after")}:
        write_json(begun, {**asked, "after": last})
    elif last != left["after"]:
        record = standing(registry, moved_by_hand=True).records[-1]
        if (record.previous, record.asked_by.command, record.reason) == (left["after"], command, reason):
            done = record
        else:
            write_json(begun, {**asked, "after": last})
    try:
        yield done
    except Exception:
        begun.unlink()
        raise
    begun.unlink()


def tell(layout: Layout, record: Record) -> Path:
    """Leave a decision's page and, where the environment names a Prefect server, an artifact there; returns the page's path.

    The decision is made and kept by now: a server that does not take the artifact is told of, and changes nothing.
    """
    if os.environ.get("PREFECT_API_URL"):
        try:
            server.check()
            from flows.report import publish_by_hand

            publish_by_hand(record)
        except Exception as error:  # noqa: BLE001 - whatever a server and its client may come up with
            sys.stderr.write(
                f"headway: decision {record.number} stands, but Prefect holds no artifact of it: {first_line(error)}\n"
            )
    return write_page(layout, record)


def _given(reason: str) -> str:
    if not reason.strip():
        raise HeadwayError('the reason is empty; say why, as --reason "too many complaints are labelled as praise"')
    return reason
