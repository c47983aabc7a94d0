"""The reference of monitoring: the champion's answers on the test rows, on which it was never trained."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_array

from headway.champion_monitor.term import Term
from headway.champion_monitor.watch import FOLDER
from headway.errors import HeadwayError
from headway.evaluation.predictions import label_ids
from headway.files import sha256_of_json
from headway.monitoring.answers import Answers
from headway.monitoring.monitor import Reference
from headway.monitoring.wording import BUCKETS, trigrams
from headway.promotion.champion import load_with_size
from headway.promotion.decision import Decision
from headway.promotion.project import Project
from headway.promotion.test_rows import TestRows
from headway.promotion.unseen_rows import require_unseen
from headway.serving.log.store import PartStore
from headway.serving.log.unknown import unknown_shares

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from headway.serving.package import ModelPackage

_REMEDY = "or bring back the data that it was trained with"


@dataclass(frozen=True)
class TermReference:
    """The reference of a term, and the fingerprint of the model and the rows that it is of."""

    reference: Reference
    fingerprint: str


def reference_of(
    project: Project, term: Term, decisions: list[Decision], log: PartStore | None, has_texts: bool
) -> TermReference:
    """The champion on the test rows.

    They are scored at the first look, and kept in the log's folder until there is another champion: rows that are added to the
    test split meanwhile, such as labelled answers, must not change what the champion is compared with.

    Args:
        log: where the reference is kept; None to score the rows anew each time.
        has_texts: whether the texts are kept of the answers that are compared with it; if not, nothing is kept of the rows'.

    Raises:
        Unreachable: the champion's files cannot be fetched.
        HeadwayError: there are no test rows; the champion's files are lost, or it may have been trained on these rows; or the log
            cannot be read or written.
    """
    name = f"reference-{term.decision[:16]}.parquet"
    content = log.below(FOLDER).read_file(name) if log else None
    table = _parsed(content, has_texts) if content else None
    if table is None:
        table = _scored(project, term, decisions, has_texts)
        if log:
            buffer = io.BytesIO()
            pq.write_table(table, buffer)
            log.below(FOLDER).write_file(name, buffer.getvalue())
    classes: list[str] = json.loads(table.schema.metadata[b"classes"])
    answers = Answers(
        table["predicted"].to_numpy(),
        table["probability"].to_numpy(),
        table["characters"].to_numpy(),
        table["unknown_share"].to_numpy(),
        np.full(table.num_rows, "test rows"),
        _matrix(table["trigrams"].combine_chunks()) if has_texts else None,
    )
    fingerprint = table.schema.metadata[b"fingerprint"].decode()
    return TermReference(Reference(answers, table["label"].to_numpy(), classes), fingerprint)


def _scored(project: Project, term: Term, decisions: list[Decision], has_texts: bool) -> pa.Table:
    """The answers on the project's present test rows."""
    version = _version(project, term)
    rows = TestRows(project.layout)
    require_unseen(version, decisions, project.params, rows.table, _REMEDY)
    package, _ = load_with_size(project.registry, version)
    probabilities = package.predict_proba(rows.texts)
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    columns = {
        "predicted": predicted,
        "probability": probabilities[np.arange(len(predicted)), predicted],
        "characters": np.array([len(text) for text in rows.texts], np.int64),
        "unknown_share": unknown_shares(package, rows.texts).astype(np.float64),
        "label": label_ids(rows.labels, package.classes),
        **({"trigrams": _lists(trigrams(rows.texts))} if has_texts else {}),
    }
    fingerprint = sha256_of_json([term.champion.model, rows.fingerprint.sha256])
    return pa.table(columns).replace_schema_metadata({"classes": json.dumps(package.classes), "fingerprint": fingerprint})


def _lists(found: csr_array) -> pa.ListArray:
    """The columns of the ones in each row of a matrix."""
    return pa.ListArray.from_arrays(pa.array(found.indptr, pa.int32()), pa.array(found.indices, pa.uint16()))


def _matrix(lists: pa.ListArray) -> csr_array:
    """The matrix that :func:`_lists` describes."""
    columns = lists.flatten().to_numpy().astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy())])
    return csr_array((np.ones(len(columns)), columns, starts), shape=(len(lists), BUCKETS))


def _parsed(content: bytes, has_texts: bool) -> pa.Table | None:
    """The table in a file's content; None if it is damaged, or lacks the trigrams that are wanted."""
    try:
        table = pq.read_table(pa.BufferReader(content))
    except pa.ArrowException:
        return None
    if not {b"classes", b"fingerprint"} <= (table.schema.metadata or {}).keys():
        return None
    return table if not has_texts or "trigrams" in table.column_names else None


def champion_package(project: Project, term: Term) -> ModelPackage:
    """The champion itself; errors as for :func:`reference_of`."""
    return load_with_size(project.registry, _version(project, term))[0]


def _version(project: Project, term: Term) -> ModelVersion:
    version = project.registry.find(term.champion)
    if version is None:
        raise HeadwayError(
            f"version {term.champion.version} of {project.registry.name}, the champion, was deleted; "
            "`headway rollback --reason …` restores the previous champion"
        )
    return version
