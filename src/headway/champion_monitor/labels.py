"""True labels that have arrived: which of the champion's answers were right, in the order in which the labels came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.champion_monitor.log_rows import PartRows, SeenParts
from headway.monitoring.answers import Answers
from headway.serving.log.kept_labels import LABELS, Key, kept_labels
from headway.serving.log.store import Part, PartStore, UnreadablePart

_COLUMNS = ["request_id", "text_sha256", "label"]


class LabelledAnswer(NamedTuple):
    """An answer of the champion whose true label is known.

    Attributes:
        answer: of the champion; one row.
        predicted, label: classes by name.
        request: its id.
        ids: of the answer's row in the log, and of its text if the label is the text's.
        shadow: class that the former champion gave to the same text, None if it was not asked.
    """

    answer: Answers
    predicted: str
    label: str
    request: str
    ids: frozenset[str]
    shadow: str | None = None


@dataclass
class KnownLabels:
    """The labels beside a log, with the order in which they came.

    Attributes:
        places: of the label of a request or text: its number in that order.
        labels: of a request or text. Those with two labels have none.
        first_new: number of the first label that has not been read before.
        unreadable: paths and reasons of parts that cannot be read.
    """

    places: dict[Key, int] = field(default_factory=dict)
    labels: dict[Key, str] = field(default_factory=dict)
    first_new: int = 0
    unreadable: list[str] = field(default_factory=list)


def known_labels(log: PartStore, seen: SeenParts) -> KnownLabels:
    """All labels beside a log, those of parts that were read before first. New parts count as read after that."""
    store = log.below(LABELS)
    kept = kept_labels(log)
    found = KnownLabels(unreadable=list(kept.unreadable))
    readable: list[Part] = []
    for parts in seen.divided(store):
        found.first_new = len(found.places)
        for part in parts:
            try:
                table = store.read(part, _COLUMNS)
                rows = list(zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True))
            except (UnreadablePart, KeyError):
                continue  # listed by kept_labels, and read when it is back
            readable.append(part)
            for request_id, text_sha256, label in rows:
                key = Key(request_id or "", text_sha256 or "")
                if kept.labels.get(key) == label and key not in found.places:
                    found.places[key] = len(found.places)
                    found.labels[key] = label
    for part in readable:
        seen.add(part)
    return found


def labelled_answers(
    rows: Iterable[tuple[PartRows, bool]], known: KnownLabels, classes: Sequence[str], done: set[str]
) -> list[LabelledAnswer]:
    """The answers whose true label is known, in the order in which the labels came.

    A label of a text counts for the first answer to that text only: however often a text is asked, its label is one outcome.

    Args:
        rows: of parts, each with whether the part is new. In parts that were read before, only new labels are looked for.
        done: ids of answers and of texts whose label was used before; they are left out.
    """
    wanted = {new: _wanted(known, 0 if new else known.first_new) for new in (True, False)}
    shadow: dict[str, str] = {}
    used: set[str] = set()
    found: list[tuple[int, int, int, LabelledAnswer]] = []
    for order, (part, new) in enumerate(rows):
        shadow |= part.shadow
        answers = replace(part.champion, trigrams=None)  # the texts have been read
        for row, key in _matches(part.keys, wanted[new], known):
            answer_id = f"{part.part.name}:{row}"
            ids = {answer_id, f"text:{key.text_sha256}"} if key.text_sha256 else {answer_id}
            if ids & (done | used):
                continue
            used |= ids
            predicted = classes[int(part.champion.predicted[row])]
            request = str(part.keys["request_id"][row].as_py())
            answer = answers.take(np.array([row]))
            labelled = LabelledAnswer(answer, predicted, known.labels[key], request, frozenset(ids))
            found.append((known.places[key], order, row, labelled))
    found.sort(key=lambda entry: entry[:3])
    return [one._replace(shadow=shadow.get(one.request)) for *_, one in found]


def _wanted(known: KnownLabels, first: int) -> tuple[pa.Array, pa.Array]:
    """Requests and hashes that are labelled from this place on."""
    keys = [key for key, place in known.places.items() if place >= first]
    return (
        pa.array([key.request_id for key in keys if key.request_id], pa.string()),
        pa.array([key.text_sha256 for key in keys if key.text_sha256], pa.string()),
    )


def _matches(keys: pa.Table, wanted: tuple[pa.Array, pa.Array], known: KnownLabels) -> Iterable[tuple[int, Key]]:
    """Rows with a label, by their request or else by their text; none whose request and text have different labels."""
    by_request, by_text = (
        pc.is_in(keys[name], value_set=values).to_numpy() if len(values) else np.zeros(keys.num_rows, bool)
        for name, values in zip(("request_id", "text_sha256"), wanted, strict=True)
    )
    for row in np.flatnonzero(by_request | by_text).tolist():
        request, text = (str(keys[name][row].as_py() or "") for name in ("request_id", "text_sha256"))
        of_request, of_text = known.labels.get(Key(request, "")), known.labels.get(Key("", text)) if text else None
        if of_request is None or of_text is None or of_request == of_text:
            yield row, Key(request, "") if by_request[row] else Key("", text)
