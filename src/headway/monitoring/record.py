"""The monitoring record: what was found about a champion at work, as it is stored."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict

from headway.phrases import counted

RECORD_VERSION: Literal[1] = 1
Status = Literal["ok", "warning", "alarm"]
OK: Literal["ok"] = "ok"
WARNING: Literal["warning"] = "warning"
ALARM: Literal["alarm"] = "alarm"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(Frozen):
    """A share with its interval, all from 0 to 1, and the number of rows that it is of."""

    value: float
    low: float
    high: float
    rows: int

    def __str__(self) -> str:
        """Such as ``91.4% (89.1% to 93.4%)``."""
        return f"{100 * self.value:.1f}% ({self._bounds})"

    @property
    def with_rows(self) -> str:
        """Such as ``91.4% (89.1% to 93.4%; 300 answers)``."""
        return f"{100 * self.value:.1f}% ({self._bounds}; {counted(self.rows, 'answer')})"

    @property
    def _bounds(self) -> str:
        return f"{100 * self.low:.1f}% to {100 * self.high:.1f}%"


class Capital(Frozen):
    """A bet against "nothing changed": its capital began at 1, and rarely grows if nothing did.

    Attributes:
        name: of what is watched, such as ``confidence``.
        log10: of the capital now, and of the highest so far.
        highest: see ``log10``.
        threshold: log10 of the capital from which the change is shown.
        crossed_row, crossed_day: of the row at which it first was, None if it never was; the day is "" if rows have none.
        path: pairs of a row and the log10 of the capital then, for a chart.
    """

    name: str
    log10: float
    highest: float
    threshold: float
    crossed_row: int | None
    crossed_day: str | None
    path: tuple[tuple[int, float], ...]

    @property
    def crossed(self) -> bool:
        return self.crossed_row is not None


class ChangeRecord(Frozen):
    """A :class:`headway.monitoring.changes.Change`."""

    what: str
    unit: Literal["share", "characters"]
    before: float
    now: float
    low: float
    high: float
    score: float


class GrownRecord(Frozen):
    """A :class:`headway.monitoring.changes.GrownNgram`."""

    words: str
    before: float
    now: float


class Day(Frozen):
    """Answers of a day: their number, their estimated accuracy, and those whose true label is known."""

    day: str
    rows: int
    estimated: float | None
    right: int
    wrong: int


class ClassLoss(Frozen):
    """Answers that name a class.

    Attributes:
        name: of the class.
        promised: share of right ones on the test rows, None if there it was never predicted.
        accepted: the share below which a loss is larger than accepted: a lower bound from the test rows, minus the margin.
        labelled: answers whose label is known.
        capital: of the bet that the share is not below ``accepted``.
    """

    name: str
    promised: float | None
    accepted: float
    labelled: int
    capital: Capital


class GuardRecord(Frozen):
    """The champion against the former one on texts that both answered and whose label is known.

    Attributes:
        former: version of the former champion.
        rows: such texts; ``only_champion`` and ``only_former`` are those on which one alone was right.
        difference, low, high: accuracy, former − champion, with an interval that holds it at all times.
        log10, highest, threshold, crossed_row: of the bet that the former one is not better, as for :class:`Capital`.
        doubt: why the labelled texts may not stand for all; "" if nothing shows that.
    """

    former: str
    rows: int
    only_champion: int
    only_former: int
    difference: float
    low: float
    high: float
    log10: float
    highest: float
    threshold: float
    crossed_row: int | None
    doubt: str

    @property
    def is_shown(self) -> bool:
        """Whether the former champion is shown to be better, by labels that are not in doubt."""
        return self.crossed_row is not None and not self.doubt


class MonitoringRecord(Frozen):
    """What was found about a champion.

    Attributes:
        record_version: format that it is written in.
        status: ``alarm`` if a loss of accuracy is shown, ``warning`` if a change is, else ``ok``.
        reasons: one line each.
        model, version, decision, since: the registered model, the champion's version, id of the decision that made it champion,
            and that decision's time, ISO 8601.
        source: of the answers: the log's folder, or names of files.
        confidence, margin: the params of the section ``monitor``.
        answers, unanswered: texts that were answered, and texts that could not be classified.
        first_day, last_day: of the answers, "" if there are none, or if they are of tables.
        reference_rows: test rows that are the reference.
        recent_days, recent_answers: days that stand for the present, and their answers.
        drift: bets on what is seen without labels.
        changes: numbers of recent answers against the test rows.
        scripts, ngrams, examples, texts_compared: of recent texts, if the log keeps texts.
        promised: accuracy in the champion's decision; None if it was promoted without one.
        reference: accuracy on the test rows now.
        estimated: accuracy of the recent answers, estimated without labels. It holds if texts changed, but not what their labels
            mean.
        realised: accuracy of the answers whose label is known.
        labels_biased: whether answers with a label differ from those without, and how; "" if that is not shown.
        reweighted: accuracy with labelled answers weighted as all answers are; None unless ``labels_biased``.
        loss: bet that the accuracy is not below what is accepted.
        by_class: the same for answers of each class.
        label_shift: estimated shares of true labels now, by class; ``label_shift_caveat`` says what they are not corrected for.
        guard: None without a former champion's answers.
        days: by day.
        unreadable: parts of the log that were skipped, with the reason.
    """

    record_version: Literal[1] = RECORD_VERSION
    status: Status
    reasons: tuple[str, ...]
    model: str
    version: str
    decision: str
    since: str
    source: str
    confidence: float
    margin: float
    answers: int
    unanswered: int
    first_day: str
    last_day: str
    reference_rows: int
    recent_days: tuple[str, ...]
    recent_answers: int
    drift: tuple[Capital, ...]
    changes: tuple[ChangeRecord, ...]
    scripts: tuple[ChangeRecord, ...]
    ngrams: tuple[GrownRecord, ...]
    examples: tuple[str, ...]
    texts_compared: int
    promised: float | None
    reference: Estimate
    estimated: Estimate | None
    realised: Estimate | None
    labels_biased: str
    reweighted: float | None
    loss: Capital
    by_class: tuple[ClassLoss, ...]
    label_shift: dict[str, Estimate]
    label_shift_caveat: str
    guard: GuardRecord | None
    days: tuple[Day, ...]
    unreadable: tuple[str, ...]

    @property
    def expected(self) -> float:
        """The accuracy that the champion is held to: the promised one, or without that the one on the test rows."""
        return self.promised if self.promised is not None else self.reference.value

    @property
    def accepted(self) -> float:
        """The accuracy below which a loss is larger than accepted."""
        return self.expected - self.margin

    def as_json(self) -> str:
        """The text that is stored."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
