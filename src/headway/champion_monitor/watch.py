"""Brings a monitor up to date with the prediction log: new answers first, then the labels that have arrived."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from headway.champion_monitor.labels import LabelledAnswer, known_labels, labelled_answers
from headway.champion_monitor.log_rows import PartRows, SeenParts, part_rows
from headway.champion_monitor.term import Term
from headway.files import sha256_of_json
from headway.monitoring.answers import concatenated
from headway.monitoring.monitor import Monitor
from headway.serving.log.store import MONITOR_FOLDER, PartStore, UnreadablePart

STATE_VERSION = 2
#: Folder of the states in the log's folder.
FOLDER = MONITOR_FOLDER


@dataclass
class Progress:
    """What has been read: parts with answers, parts with labels, and the answers whose label has been used."""

    answers: SeenParts = field(default_factory=SeenParts)
    labels: SeenParts = field(default_factory=SeenParts)
    labelled: set[str] = field(default_factory=set)


def catch_up(
    log: PartStore,
    term: Term,
    monitor: Monitor,
    progress: Progress,
    on_step: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Read everything in the log that has not been read; returns why parts were skipped.

    Parts are read in the order of time, and labels in the order in which they came, so that one log gives the same numbers
    however often it is looked at in between; a part that is written late is read when it is there.

    Raises:
        HeadwayError: the log cannot be listed or read.
    """
    classes, since = monitor.reference.classes, term.since.date()
    unreadable: list[str] = []
    old, new = progress.answers.divided(log, since)
    known = known_labels(log, progress.labels)
    unreadable += known.unreadable

    def rows() -> Iterator[tuple[PartRows, bool]]:
        for number, found in enumerate(part_rows(log, new, term, classes, monitor.reads_texts), 1):
            if isinstance(found, UnreadablePart):
                unreadable.append(str(found))
                continue
            monitor.add(found.champion, found.unanswered)
            progress.answers.add(found.part)
            on_step(f"part {number:,} of {len(new):,}, {monitor.answers:,} answers")
            yield found, True
        # Labels that have just arrived may be of answers that were read before.
        for found in part_rows(log, old if known.first_new < len(known.places) else [], term, classes):
            if not isinstance(found, UnreadablePart):  # reported when it was new
                yield found, False

    _add_labels(monitor, labelled_answers(rows(), known, classes, progress.labelled), progress)
    return unreadable


def _add_labels(monitor: Monitor, found: Sequence[LabelledAnswer], progress: Progress) -> None:
    if not found:
        return
    answers = concatenated([one.answer for one in found])
    monitor.add_labelled(answers, [one.label for one in found], [one.shadow for one in found])
    progress.labelled.update(*(one.ids for one in found))


def state_name(term: Term, key: str) -> str:
    """Name of the file with a term's state."""
    return f"version-{term.champion.version}-{key[:16]}.json"


def state_key(term: Term, monitor: Monitor, fingerprint: str) -> str:
    """What a state belongs to: the term, the reference, and what the champion is held to."""
    terms = monitor.terms
    held_to = [terms.promised, terms.margin, terms.confidence, list(monitor.weights)]
    return sha256_of_json([STATE_VERSION, term.decision, fingerprint, *held_to])


def restore(log: PartStore, name: str, key: str, monitor: Monitor) -> Progress | None:
    """Take a stored state; None, with the monitor as it was, if there is none or it is damaged."""
    content = log.below(FOLDER).read_file(name)
    if content is None:
        return None
    try:
        stored = json.loads(content)
        if stored["sha256"] != sha256_of_json(stored["state"]) or stored["key"] != key:
            return None
        state: dict[str, Any] = stored["state"]
    except (ValueError, KeyError, TypeError):
        return None
    monitor.restore(state["monitor"])
    return Progress(SeenParts.from_json(state["answers"]), SeenParts.from_json(state["labels"]), set(state["labelled"]))


def keep(log: PartStore, name: str, key: str, monitor: Monitor, progress: Progress) -> None:
    """Store the state, as a whole or not at all; HeadwayError if the folder cannot be written to."""
    state = {
        "monitor": monitor.state(),
        "answers": progress.answers.as_json(),
        "labels": progress.labels.as_json(),
        "labelled": sorted(progress.labelled),
    }
    content = {"key": key, "sha256": sha256_of_json(state), "state": state}
    log.below(FOLDER).write_file(name, json.dumps(content, ensure_ascii=False).encode())
