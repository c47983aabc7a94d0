"""The decision record: the stored form of every decision about who is champion. Reading one needs no registry.

A decision's id is the SHA-256 of its content, and its content names the id of the decision before it. The decisions
therefore form a chain in which an edit, a deletion or a change of order is detected.

Two versions of the format exist. Version 3 is written today; version 2 was written by Headway 0.1.0 and is still read. A
decision that was read from version 2 keeps the names, and so the id, that it was written with.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from headway.errors import HeadwayError
from headway.files import sha256_of_json
from headway.process import user_name
from headway.promotion.check import Check, Frozen
from headway.registry.version_ref import ModelVersionRef

RECORD_VERSION: Literal[3] = 3
#: Names that version 2 used for today's fields.
V2_NAMES = {"requested_by": "asked_by", "gate_code": "gate"}
PROMOTION, FORCED, REFUSAL, ROLLBACK, RETIREMENT = "promotion", "forced promotion", "refusal", "rollback", "retirement"
#: With ``gate.approval: required``, a candidate that passes the gate makes a request, which a person approves or declines.
REQUEST, APPROVAL, DECLINE = "approval request", "approval", "decline"
DONE = {
    PROMOTION: "is promoted",
    FORCED: "is promoted by force",
    REFUSAL: "is refused",
    ROLLBACK: "is restored",
    RETIREMENT: "is retired",
    REQUEST: "passed the gate and waits for approval",
    APPROVAL: "is approved and promoted",
    DECLINE: "is declined",
}
Kind = Literal[
    "promotion", "forced promotion", "refusal", "rollback", "retirement", "approval request", "approval", "decline"
]
#: Keys of ``Decision.scores`` for the two models that the stages produce.
CANDIDATE, BASELINE = "candidate", "linear baseline"
#: Endings of the names of the checks that compare accuracies, the more important opponent first.
ACCURACY_CHECKS = (("champion", "_champion"), ("linear baseline", "_baseline"))
#: Hashes in the sketch of a test set.
SKETCH_SIZE = 256


class Requester(Frozen):
    """Who or what requested a decision: user, machine and command; and the Prefect flow run and deployment, if any."""

    user: str
    host: str
    command: str
    flow_run: str = ""
    flow_run_id: str = ""
    deployment: str = ""

    @property
    def label(self) -> str:
        """Short text for a table cell."""
        flow = f", flow run {self.flow_run}" if self.flow_run else ""
        return f"{self.user}@{self.host}: {self.command}{flow}"


class TestSet(Frozen):
    """Fingerprint of the test rows that a decision is based on.

    Attributes:
        sha256: of the rows' ids and labels, in any order.
        rows: number of rows.
        sketch: the smallest hashes of the row ids, up to :data:`SKETCH_SIZE`; "" in decisions from before there were
            sketches.
    """

    __test__ = False  # not a test class for pytest

    sha256: str
    rows: int
    sketch: str = ""

    @model_serializer(mode="wrap")
    def _without_empty_sketch(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if name != "sketch" or value}

    @classmethod
    def of(cls, ids: Sequence[str], labels: Sequence[str]) -> TestSet:
        """Fingerprint of the rows with these ids and labels, whose order does not matter."""
        hashes = heapq.nsmallest(SKETCH_SIZE, (hashlib.sha256(row.encode()).hexdigest()[:12] for row in ids))
        return cls(sha256=sha256_of_json(sorted(zip(ids, labels, strict=True))), rows=len(ids), sketch=" ".join(hashes))

    def overlap(self, other: TestSet) -> float:
        """Estimated share of these rows that the other set contains too, from 0 to 1; accurate to about 0.05.

        The smallest hashes of a union are a random sample of it, so the share of them that is in both sets estimates the
        Jaccard similarity J (Broder 1997, "On the resemblance and containment of documents"). With sizes a and b, the sets
        have J (a + b) / (1 + J) rows in common.
        """
        if self.sha256 == other.sha256:
            return 1.0
        first, second = set(self.sketch.split()), set(other.sketch.split())
        smallest = sorted(first | second)[:SKETCH_SIZE]
        similarity = len(first & second & set(smallest)) / len(smallest) if smallest else 0.0
        common = similarity * (self.rows + other.rows) / (1 + similarity)
        return min(1.0, common / self.rows) if self.rows else 0.0


class RecordRef(Frozen):
    """An earlier decision: its number in the history, and its id."""

    number: int
    id: str


class Decision(Frozen):
    """One decision about who is champion.

    Attributes:
        record_version: format that it is written in.
        number: position in the history, from 1.
        previous: id of the decision before it, "" for the first.
        kind: what was decided.
        when: ISO 8601 time of the deciding machine. The history is ordered by numbers, not by this clock.
        requested_by: who requested it.
        reason: given by a person; "" if the gate decided.
        candidate: the version that is promoted, refused, restored or retired.
        champion: the champion before the decision, None if there was none.
        checks, scores, test_rows, policy: of the gate; empty if the gate was not run. Scores are test metrics by model.
        lineage: of the candidate version.
        project: lineage of the project at the decision, with the key of its pipeline execution.
        params: all of params.yaml at the decision.
        data: description of the candidate's data, for the model card.
        training: the candidate's training report, as in ``metrics/training.json``; empty if it is unknown, and in decisions
            from before it was recorded.
        gate_code: fingerprint of the code that decided, see :mod:`headway.promotion.gate_code`.
        request: the approval request that this answers, and whose checks and scores it repeats; None for other kinds.
        replaces: the other version that waited until this approval request; None if none did.
    """

    record_version: Literal[2, 3] = RECORD_VERSION
    number: int = Field(ge=1)
    previous: str
    kind: Kind
    when: str
    requested_by: Requester
    reason: str = ""
    candidate: ModelVersionRef
    champion: ModelVersionRef | None = None
    checks: tuple[Check, ...] = ()
    scores: dict[str, dict[str, Any]] = Field(default_factory=dict)
    test_rows: TestSet | None = None
    policy: dict[str, Any] = Field(default_factory=dict)
    lineage: dict[str, str] = Field(default_factory=dict)
    project: dict[str, str] = Field(default_factory=dict)
    params: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    gate_code: str = ""
    request: RecordRef | None = None
    replaces: ModelVersionRef | None = None

    @model_serializer(mode="wrap")
    def _without_empty_additions(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Decisions from before a field was added keep their ids.
        added = ("training", "request", "replaces")
        return {name: value for name, value in dump(self).items() if name not in added or value}

    @property
    def id(self) -> str:
        """Hex SHA-256 of the content as it is written."""
        return sha256_of_json(self._content())

    @property
    def appoints(self) -> bool:
        """Whether it makes its candidate champion."""
        return self.kind in (PROMOTION, FORCED, ROLLBACK, APPROVAL)

    @property
    def changes_champion(self) -> bool:
        """Whether it appoints or retires a champion."""
        return self.appoints or self.kind == RETIREMENT

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if not check.passed]

    @property
    def accuracy_gain(self) -> tuple[str, Check] | None:
        """The opponent that the candidate's accuracy was compared with, and the check; the champion if there was one."""
        for opponent, ending in ACCURACY_CHECKS:
            for check in self.checks:
                if check.name.endswith(ending) and None not in (check.value, check.low, check.high):
                    return opponent, check
        return None

    @property
    def candidate_scores(self) -> dict[str, Any]:
        """The candidate's test metrics, empty if the gate was not run."""
        return self.scores.get(CANDIDATE, {})

    @property
    def headline(self) -> str:
        """What was decided, in one line."""
        done = f"version {self.candidate.version} {DONE[self.kind]}"
        if self.replaces is not None:
            done += f", in place of version {self.replaces.version}"
        if self.request is not None:
            done += f", on the evidence of decision {self.request.number}"
        return f"{done}: {self.reason}" if self.reason else done

    @property
    def summary(self) -> list[str]:
        """The headline and one line for each check."""
        return [self.headline, *(f"{'✓' if one.passed else '✗'} {one.name}: {one.explanation}" for one in self.checks)]

    def repeats(self, other: Decision) -> bool:
        """Whether it is the same decision based on the same facts, no matter who requested it and when."""
        return self._facts() == other._facts()

    def _facts(self) -> list[Any]:
        facts = self.model_dump(include={"kind", "reason", "candidate", "champion", "test_rows", "policy", "gate_code"})
        # The results of the stages are compared in place of dvc.lock, which also covers pages.
        ignored = {"headway.git_commit", *(["headway.dvc_lock"] if "headway.results" in self.project else [])}
        project = {name: value for name, value in self.project.items() if name not in ignored}
        results = [(one.name, one.passed, one.value is None) for one in self.checks]
        # The latency limit can be a multiple of a measured time, which varies; the policy already holds the multiple.
        thresholds = [None if one.name == "latency" else one.threshold for one in self.checks]
        return [facts, project, results, thresholds]

    def _content(self) -> dict[str, Any]:
        """The content with the names of the version that it is written in."""
        names = V2_NAMES if self.record_version == 2 else {}
        return {names.get(name, name): value for name, value in self.model_dump(mode="json").items()}

    def as_json(self) -> str:
        """The text that is stored."""
        return json.dumps({"id": self.id, **self._content()}, indent=2, ensure_ascii=False, allow_nan=False)


def new_decision(**content: Any) -> Decision:
    """A decision made now, from all attributes of :class:`Decision` but ``when``. Numbers that are not finite become None."""
    return Decision.model_validate(plain({**content, "when": datetime.now(UTC).isoformat(timespec="seconds")}))


def parse(text: str, expected: str) -> Decision:
    """Read a stored decision, whose id must be the one that the history lists.

    Raises:
        HeadwayError: the text was altered, or has a format that this Headway does not read. The message does not name the
            decision.
    """
    try:
        content = json.loads(text)
        given = content.pop("id")
        schema = content.get("record_version")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise HeadwayError("damaged (not a decision record)") from None
    if schema not in (2, RECORD_VERSION):
        raise HeadwayError(f"record_version {schema!r}, this Headway reads 2 and {RECORD_VERSION}; update Headway")
    if schema == 2:
        new_names = {old: new for new, old in V2_NAMES.items()}
        content = {new_names.get(name, name): value for name, value in content.items()}
    try:
        decision = Decision.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise HeadwayError(f"altered or damaged ({where}: {problem['msg'][:100]})") from None
    if {given, decision.id} != {expected}:
        raise HeadwayError(f"altered: its SHA-256 is {decision.id[:12]}, the history has {expected[:12]}")
    if text != decision.as_json():  # differences that parsing drops, such as a repeated key
        raise HeadwayError("altered: its text is not the one that Headway writes")
    return decision


def current_requester(command: str, **flow: str) -> Requester:
    """This user on this machine, running a command, with fields of :class:`Requester` about the flow run, if there is one."""
    return Requester(user=user_name(), host=socket.gethostname(), command=command, **flow)


def plain(value: Any) -> Any:
    """A value for JSON: NumPy numbers as Python's, and None for numbers that are not finite."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
