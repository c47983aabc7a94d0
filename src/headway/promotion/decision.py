"""The decision record: what is kept of a promotion, refusal, rollback or retirement; no registry is needed to read one.

A record's id is the SHA-256 of its content, and its content names the id of the record before it: the records form a chain
in which an edit, a deletion or another order shows.
"""

from __future__ import annotations

import getpass
import hashlib
import heapq
import json
import math
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from headway import __version__
from headway.errors import HeadwayError
from headway.files import sha256_of_json

RECORD_VERSION: Literal[2] = 2
#: Hashes in the sketch of a test set.
SKETCHED = 256
PROMOTION, FORCED, REFUSAL, ROLLBACK, RETIREMENT = "promotion", "forced promotion", "refusal", "rollback", "retirement"
Kind = Literal["promotion", "forced promotion", "refusal", "rollback", "retirement"]
#: What the two models that the stages leave are called in scores.
CANDIDATE, BASELINE = "candidate", "linear baseline"
#: Where the code lies that a verdict comes from, from this folder, and the libraries that it computes with.
DECIDING = (
    ".",
    "../evaluation",
    "../serving",
    "../model",
    "../stages/evaluate.py",
    "../data/scripts.py",
    "../data/tokenizer.py",
    "../data/batching.py",
    "../../../flows/promotion.py",
)
COMPUTING = ("numpy", "scipy", "scikit-learn", "tokenizers", "torch")
#: Checks against the opponent that matters most come first.
GAINS = (("champion", "_champion"), ("linear baseline", "_baseline"))


class Part(BaseModel):
    """Frozen, and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CheckRecord(Part):
    """A check of the gate, see :class:`headway.promotion.gate.Check`; the gate may say more of one than the registry reads."""

    model_config = ConfigDict(extra="allow")

    name: str
    passed: bool
    value: float | None
    low: float | None
    high: float | None
    threshold: float | None
    explanation: str

    @property
    def level(self) -> float | None:
        """Confidence of the interval of a comparison of accuracies, None where the gate did not say."""
        significance = (self.model_extra or {}).get("details", {}).get("significance")
        return None if significance is None else 1 - 2 * significance


class Subject(Part):
    """A registered version: its number, its package's fingerprint and its training run."""

    version: str
    model: str
    run: str


class Actor(Part):
    """Who or what asked: the user and machine, the command, and the Prefect flow run and deployment where there is one."""

    user: str
    host: str
    command: str
    flow_run: str = ""
    flow_run_id: str = ""
    deployment: str = ""

    @property
    def told(self) -> str:
        """For one cell of a table."""
        flow = f", flow run {self.flow_run}" if self.flow_run else ""
        return f"{self.user}@{self.host}: {self.command}{flow}"


class Rows(Part):
    """The rows that were decided on.

    Attributes:
        sha256: of their identities and labels.
        rows: how many.
        sketch: the least hashes of their identities, as many as :data:`SKETCHED`, "" in records that are older than it.
    """

    sha256: str
    rows: int
    sketch: str = ""

    @model_serializer(mode="wrap")
    def _as_it_was_written(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if name != "sketch" or value}

    def shared_with(self, other: Rows) -> float:
        """Which share of these rows the other set has too, from 0 to 1: an estimate, within about 0.05.

        Of the least hashes of a union, those in both sets are a fair sample, which tells the share of the union that is common
        (Broder 1997, "On the resemblance and containment of documents"); from it and the sizes follows how many these are.
        """
        if self.sha256 == other.sha256:
            return 1.0
        first, second = set(self.sketch.split()), set(other.sketch.split())
        least = sorted(first | second)[:SKETCHED]
        common = len(first & second & set(least)) / len(least) if least else 0.0
        return min(1.0, common * (self.rows + other.rows) / ((1 + common) * self.rows)) if self.rows else 0.0


class Record(Part):
    """One decision.

    Attributes:
        number: place in the history, from 1.
        previous: id of the record before it, "" for the first.
        when: by this machine's clock, ISO 8601; the order of the history is not the clock's.
        reason: a person's own, "" for the gate's verdicts.
        candidate: whom it is about: promoted, refused, restored or retired.
        champion: in office when it was decided, None when nobody was.
        checks, scores, test_rows, policy: the gate's; empty where the gate was not asked.
        lineage: of the candidate's version.
        project: lineage of the project at the decision, with the key of its pipeline execution.
        params: all of params.yaml at the decision.
        data: what the candidate's data were, for the model card.
        gate: fingerprint of the code that decided.
    """

    record_version: Literal[2] = RECORD_VERSION
    number: int = Field(ge=1)
    previous: str
    kind: Kind
    when: str
    asked_by: Actor
    reason: str = ""
    candidate: Subject
    champion: Subject | None = None
    checks: tuple[CheckRecord, ...] = ()
    scores: dict[str, dict[str, Any]] = {}
    test_rows: Rows | None = None
    policy: dict[str, Any] = {}
    lineage: dict[str, str] = {}
    project: dict[str, str] = {}
    params: dict[str, Any] = {}
    data: dict[str, Any] = {}
    gate: str = ""

    @property
    def id(self) -> str:
        """Hex SHA-256 of the content."""
        return sha256_of_json(self.model_dump(mode="json"))

    @property
    def appoints(self) -> bool:
        """Whether it puts its candidate into office."""
        return self.kind in (PROMOTION, FORCED, ROLLBACK)

    @property
    def failed(self) -> list[CheckRecord]:
        return [check for check in self.checks if not check.passed]

    @property
    def gain(self) -> tuple[str, CheckRecord] | None:
        """Whom the candidate's accuracy was compared with, the champion if there was one, and that check."""
        for opponent, ending in GAINS:
            for check in self.checks:
                if check.name.endswith(ending) and check.value is not None and check.low is not None:
                    return opponent, check
        return None

    @property
    def headline(self) -> str:
        version = self.candidate.version
        words = {
            PROMOTION: f"version {version} is promoted",
            FORCED: f"version {version} is promoted by force",
            REFUSAL: f"version {version} is refused",
            ROLLBACK: f"version {version} is restored",
            RETIREMENT: f"version {version} is retired",
        }
        return words[self.kind] + (f": {self.reason}" if self.reason else "")

    @property
    def summary(self) -> list[str]:
        """The verdict and every check, a line each."""
        return [f"{self.headline}", *(f"{'✓' if one.passed else '✗'} {one.name}: {one.explanation}" for one in self.checks)]

    def repeats(self, other: Record) -> bool:
        """Whether it is the same decision on the same facts, whoever asked and when."""
        return self._decision() == other._decision()

    def _decision(self) -> list[Any]:
        facts = self.model_dump(include={"kind", "reason", "candidate", "champion", "test_rows", "policy", "gate"})
        rests_on = {name: value for name, value in self.project.items() if name != "headway.git_commit"}
        # A limit of the latency may be a multiple of what was measured; the policy, among the facts, has the multiple.
        limits = [None if one.name == "latency" else one.threshold for one in self.checks]
        ends = [(one.name, one.passed, one.value is None) for one in self.checks]
        return [facts, rests_on, ends, limits]

    def as_json(self) -> str:
        """As it is kept."""
        return json.dumps({"id": self.id, **self.model_dump(mode="json")}, indent=2, ensure_ascii=False, allow_nan=False)


def new_record(**content: Any) -> Record:
    """A record of now; numbers that are not finite become None.

    Args:
        content: the attributes of :class:`Record`, ``when`` excepted.
    """
    return Record.model_validate(plain({**content, "when": now()}))


def parse(text: str, expected: str) -> Record:
    """A record as it was kept.

    Args:
        text: its JSON.
        expected: the id that the history has for it.

    Raises:
        HeadwayError: it was altered, or is of another schema; the message says which, without naming the record.
    """
    try:
        content = json.loads(text)
        given = content.pop("id")
        schema = content.get("record_version")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise HeadwayError("damaged (no record)") from None
    if schema != RECORD_VERSION:
        raise HeadwayError(f"of schema version {schema!r}, this Headway reads {RECORD_VERSION}; update Headway")
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise HeadwayError(f"altered or damaged ({where}: {problem['msg'][:100]})") from None
    if {given, record.id} != {expected}:
        raise HeadwayError(f"altered: its SHA-256 is {record.id[:12]}, the history has {expected[:12]}")
    if text != record.as_json():  # what parsing leaves out, such as a key that stands twice
        raise HeadwayError("altered: not as it was written")
    return record


def rows_of(ids: Sequence[str], labels: Sequence[str]) -> Rows:
    """The rows of these identities and labels, in whatever order they stand."""
    hashes = heapq.nsmallest(SKETCHED, (hashlib.sha256(row.encode()).hexdigest()[:12] for row in ids))
    return Rows(sha256=sha256_of_json(sorted(zip(ids, labels, strict=True))), rows=len(ids), sketch=" ".join(hashes))


def gate_code() -> str:
    """Fingerprint of what a verdict comes from beside its inputs: Headway's version, the record's, that of the code that gates,
    measures, slices and scores, and those of the libraries that it computes with."""
    here = Path(__file__).parent
    code = {place: sha256_of_sources(here / place) for place in DECIDING}
    return sha256_of_json([__version__, RECORD_VERSION, code, {name: version(name) for name in COMPUTING}])


def sha256_of_sources(place: Path) -> str:
    """Hex SHA-256 over the Python files of a folder, or over one; "" where there are none."""
    files = sorted(place.glob("*.py")) if place.is_dir() else [place] if place.is_file() else []
    return sha256_of_json({file.name: file.read_text(encoding="utf-8") for file in files}) if files else ""


def asked_by(command: str, **flow: str) -> Actor:
    """This user on this machine, by a command; and the flow run, where there is one."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = "unknown"
    return Actor(user=user, host=socket.gethostname(), command=command, **flow)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def plain(value: Any) -> Any:
    """A value as JSON has it: NumPy's numbers as Python's, and None for what is not finite."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
