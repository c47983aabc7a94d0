"""The columns of the prediction log, and the rows of texts that a model has answered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from headway.data.sources.rows import replace_surrogates

if TYPE_CHECKING:
    from headway.serving.package import ModelPackage

TIME = pa.timestamp("us", tz="UTC")
#: The columns. Those of texts are null where ``serving.log.texts`` leaves them out.
SCHEMA = pa.schema(
    {
        "request_id": pa.string(),
        "time": TIME,
        "version": pa.string(),
        "role": pa.string(),  # champion, shadow, or other
        "source": pa.string(),  # http or batch
        "label": pa.string(),  # null for a text that cannot be classified, as are the next two
        "probability": pa.float32(),
        "probabilities": pa.list_(pa.float32()),  # in the order of the part's classes
        "characters": pa.int64(),
        "unknown_share": pa.float32(),
        "text_sha256": pa.string(),
        "text": pa.large_string(),
    }
)
#: The columns that depend on ``serving.log.texts``, by its value.
TEXT_COLUMNS = {"none": (), "hashed": ("text_sha256",), "full": ("text_sha256", "text")}
#: Key of the classes, a JSON list, in a part's metadata.
CLASSES = b"classes"


class ServedModelLike(Protocol):
    """What the log needs of a model."""

    @property
    def package(self) -> ModelPackage: ...

    @property
    def version(self) -> str: ...


@dataclass(frozen=True)
class Answered:
    """Texts that a model has answered.

    Attributes:
        model: that answered.
        ids: of the requests, one for each text.
        texts: as they came; None for a missing one.
        probabilities: float32, (texts, classes); NaN for a text that cannot be classified.
        role: of the model.
        source: of the texts.
        time: of the answer, in UTC.
    """

    model: ServedModelLike
    ids: Sequence[str]
    texts: Sequence[str | None]
    probabilities: np.ndarray
    role: str
    source: str
    time: datetime

    @property
    def problem(self) -> str:
        """Why they cannot be logged, "" if they can."""
        expected = len(self.ids), len(self.model.package.classes)
        if len(self.texts) == len(self.ids) and np.shape(self.probabilities) == expected:
            return ""
        return f"{len(self.ids)} ids, {len(self.texts)} texts and probabilities of shape {np.shape(self.probabilities)}"


def table_of(answers: Sequence[Answered], texts: str) -> pa.Table:
    """The rows of some answers of models with the same classes, in order.

    Args:
        texts: value of ``serving.log.texts``, which decides about the columns of texts.
    """
    classes = answers[0].model.package.classes
    probabilities = np.concatenate([np.asarray(one.probabilities, np.float32) for one in answers])
    known: np.ndarray = ~np.isnan(probabilities).any(axis=1)
    best = np.where(known, np.nan_to_num(probabilities).argmax(axis=1), 0)
    given = [text for one in answers for text in one.texts]
    shares = _unknown_shares(answers, given, known)

    def repeated(values: Sequence[str | datetime]) -> list[str | datetime]:
        return [value for value, one in zip(values, answers, strict=True) for _ in one.ids]

    columns: dict[str, Any] = {
        "request_id": [replace_surrogates(str(one)).strip() for answered in answers for one in answered.ids],
        "time": repeated([one.time for one in answers]),
        "version": repeated([one.model.version for one in answers]),
        "role": repeated([one.role for one in answers]),
        "source": repeated([one.source for one in answers]),
        "label": [classes[index] if ok else None for index, ok in zip(best, known, strict=True)],
        "probability": pa.array(probabilities[np.arange(len(best)), best], pa.float32(), mask=~known),
        "probabilities": [row if ok else None for row, ok in zip(probabilities, known, strict=True)],
        "characters": [None if text is None else len(text) for text in given],
        "unknown_share": pa.array(shares, pa.float32(), mask=np.isnan(shares)),
    }
    if "text_sha256" in TEXT_COLUMNS[texts]:
        columns["text_sha256"] = [None if text is None else text_hash(text) for text in given]
    if "text" in TEXT_COLUMNS[texts]:
        columns["text"] = [None if text is None else replace_surrogates(text) for text in given]
    schema = pa.schema([SCHEMA.field(name) for name in columns], metadata=with_classes(classes))
    return pa.table(columns, schema=schema)


def _unknown_shares(answers: Sequence[Answered], texts: Sequence[str | None], known: np.ndarray) -> np.ndarray:
    """The share of each text that the model that answered does not know, float32, (rows,); NaN for a text without an answer."""
    from headway.serving.log.unknown import unknown_shares  # imports PyTorch, which a reader of the log does not need

    shares = np.full(len(texts), np.nan, dtype=np.float32)
    rows: dict[int, list[int]] = {}  # by the model that answered
    start = 0
    for one in answers:
        rows.setdefault(id(one.model), []).extend(row for row in range(start, start + len(one.ids)) if known[row])
        start += len(one.ids)
    for model in {id(one.model): one.model for one in answers}.values():
        chosen = rows[id(model)]
        shares[chosen] = unknown_shares(model.package, [str(texts[row]) for row in chosen])
    return shares


def text_hash(text: str) -> str:
    """Hex SHA-256 of a text in UTF-8, exactly as it came."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def with_classes(classes: Sequence[str]) -> dict[bytes, bytes]:
    """The metadata of a part."""
    return {CLASSES: json.dumps(list(classes), ensure_ascii=False).encode("utf-8", "surrogatepass")}


def classes_of(metadata: Mapping[bytes, bytes] | None) -> list[str]:
    """The classes in the metadata of a part; none if it has none."""
    found: list[str] = json.loads((metadata or {}).get(CLASSES, b"[]"))
    return found
