"""The whole monitor on simulated answers: few false warnings, real changes found, and nothing depends on cuts."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from headway.monitoring.answers import Answers
from headway.monitoring.monitor import CLASS, CONFIDENCE, LENGTH, UNKNOWN, Monitor, Reference, Terms
from headway.monitoring.wording import STARTS, name_of
from tests.monitoring.streams import CLASSES, OTHER, answers, days, monitor_of, names, read, record, truth, worded

STREAMS, ALPHA = 200, 0.2


def shown(monitor: Monitor) -> set[str]:
    """The scores that have been shown to differ."""
    return {name for name, bets in monitor.drift.items() if bets.crossed_at(monitor.thresholds[name]) is not None}


def test_the_risks_of_all_bets_sum_to_at_most_alpha() -> None:
    monitor = monitor_of(*answers(0, 300), confidence=0.9)
    risks = [1 / threshold for threshold in monitor.thresholds.values()]
    risks += [1 / monitor.loss_threshold, *(1 / monitor.class_threshold for _ in monitor.by_class)]
    # The other eighth is for the classes' promises.
    assert sum(risks) == pytest.approx(0.1 * 7 / 8)


def test_the_risk_of_the_wording_is_shared_by_its_classifiers() -> None:
    reference, right = answers(0, 300)
    monitor = monitor_of(worded(reference, 0), right)
    assert sum(monitor.weights.values()) == pytest.approx(1)
    assert sum(monitor.weights[name] for name in STARTS) == pytest.approx(monitor.weights[LENGTH])


def test_streams_that_do_not_change_are_rarely_warned_of() -> None:
    pool, right = answers(1, 900)
    warned = 0
    for seed in range(STREAMS):
        order = np.random.default_rng(seed).permutation(len(pool))
        before, after = order[:500], order[500:]
        monitor = monitor_of(pool.take(before), right[before], confidence=1 - ALPHA)
        monitor.terms = Terms(monitor.terms.promised, 0.03, 1 - ALPHA, str(seed))
        warned += record(read(monitor, pool.take(after), right[after])).status != "ok"
    assert warned <= binom.ppf(0.999, STREAMS, ALPHA)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"sureness": 0.6}, CONFIDENCE),
        ({"length": 4.0}, LENGTH),
        ({"positive": 0.8}, f"{CLASS} positive"),
        ({"unknown": True}, UNKNOWN),
    ],
)
def test_a_change_from_the_first_answer_on_is_found_by_the_score_that_shows_it(change: dict[str, Any], found: str) -> None:
    monitor = monitor_of(*answers(2, 800))
    now, _ = answers(3, 400, **{name: value for name, value in change.items() if name != "unknown"})
    if "unknown" in change:
        now = Answers(now.predicted, now.probability, now.characters, np.clip(3 * now.unknown_share, 0, 1), now.days)
    read(monitor, now)
    name = found if found in monitor.drift else found.replace("positive", "negative")
    assert shown(monitor) == {name}
    assert record(monitor).status in ("warning", "alarm")


def test_other_words_are_found_though_nothing_else_changes() -> None:
    reference, right = answers(2, 800)
    first = name_of(200)
    usual = read(monitor_of(worded(reference, 0), right), worded(answers(3, 400)[0], 1))
    assert not shown(usual)
    other = read(monitor_of(worded(reference, 0), right), worded(answers(3, 400)[0], 1, OTHER))
    assert shown(other) == {first}
    (found,) = [one for one in record(other).drift if one.crossed]
    assert found.crossed_row is not None
    assert 200 < found.crossed_row <= 300  # counted as answers, not from the training of the classifier on
    assert found.path[0] == (200, 0.0)


def test_a_classifier_that_is_not_trained_yet_is_not_in_the_record() -> None:
    reference, right = answers(2, 300)
    monitor = read(monitor_of(worded(reference, 0), right), worded(answers(3, 200)[0], 1))
    assert not STARTS.keys() & {one.name for one in record(monitor).drift}
    read(monitor, worded(answers(3, 1)[0], 2))
    assert STARTS.keys() & {one.name for one in record(monitor).drift} == {name_of(200)}


def test_a_change_of_lengths_alone_is_a_warning() -> None:
    found = record(read(monitor_of(*answers(2, 800)), answers(3, 400, length=4.0)[0]))
    assert found.status == "warning"
    assert found.reasons[0].startswith("length: other than on the test rows, shown after ")


def test_a_change_that_makes_the_model_unsure_is_an_alarm_by_the_estimate() -> None:
    now, right = answers(3, 1_000, sureness=0.0)
    found = record(read(monitor_of(*answers(2, 800)), now))
    assert found.status == "alarm"
    assert found.estimated is not None
    assert found.estimated.low <= right.mean() <= found.estimated.high
    assert any("estimated accuracy" in reason for reason in found.reasons)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 80), max_size=6), st.booleans())
def test_cuts_and_stored_states_change_nothing(sizes: list[int], stored: bool) -> None:
    before, right_before = answers(4, 200)
    reference = worded(before, 0), right_before
    now, right = answers(5, sum(sizes), length=5.4)
    now = worded(now, 1, OTHER)
    whole = monitor_of(*reference)
    whole.add(now)
    parts = monitor_of(*reference)
    start = 0
    for size in sizes:
        rows = np.arange(start, start + size)
        start += size
        parts.add(now.take(rows))
        if stored:
            state = json.loads(json.dumps(parts.state()))
            parts = monitor_of(*reference)
            parts.restore(state)
    assert parts.state() == whole.state()
    for monitor in (parts, whole):
        labelled = np.arange(len(now)) % 3 == 0
        monitor.add_labelled(now.take(labelled), names(truth(now, right)[labelled]), [None] * int(labelled.sum()))
    assert record(parts).as_json() == record(whole).as_json()


def test_the_state_does_not_grow_with_the_number_of_answers() -> None:
    monitor = monitor_of(*answers(6, 200))
    sizes = []
    for _ in range(2):
        for part in range(4):
            read(monitor, answers(part, 1_000)[0])
        sizes.append(len(json.dumps(monitor.state())))
    assert sizes[1] < 1.3 * sizes[0]


def test_the_day_is_noted_on_which_a_change_is_shown() -> None:
    monitor = monitor_of(*answers(2, 800))
    read(monitor, days(4, 60))
    read(monitor, answers(7, 300, length=3.5, day="2026-12-09")[0])
    (change,) = [one for one in record(monitor).drift if one.crossed]
    assert (change.name, change.crossed_day) == (LENGTH, "2026-12-09")
    assert change.crossed_row is not None
    assert change.crossed_row > 240


def test_unknown_shares_that_the_model_cannot_give_are_not_watched() -> None:
    reference, right = answers(2, 100)
    unknown = np.full(100, np.nan)
    monitor = monitor_of(
        Answers(reference.predicted, reference.probability, reference.characters, unknown, reference.days), right
    )
    assert UNKNOWN not in monitor.drift
    assert sum(monitor.weights.values()) == pytest.approx(1)
    read(monitor, answers(3, 50)[0])
    assert not [one for one in record(monitor).changes if "unknown" in one.what]


def test_answers_without_an_unknown_share_are_not_counted_for_it() -> None:
    monitor = monitor_of(*answers(2, 100))
    now, _ = answers(3, 50)
    now.unknown_share[::2] = np.nan
    read(monitor, now)
    assert (monitor.drift[UNKNOWN].rows, monitor.drift[LENGTH].rows) == (25, 50)


def test_of_many_classes_the_most_frequent_are_watched_one_by_one() -> None:
    random = np.random.default_rng(0)
    reference, _ = answers(2, 600)
    names50 = [f"class {number}" for number in range(50)]
    predicted = np.minimum(random.geometric(0.1, 600) - 1, 48)  # class 49 is never predicted
    many = Answers(predicted, reference.probability, reference.characters, reference.unknown_share, reference.days)
    monitor = Monitor(Reference(many, predicted, names50), Terms(1.0, 0.03, 0.95, "k"))
    watched = [name for name in monitor.drift if name.startswith(CLASS)]
    assert watched == [f"{CLASS} class {number}" for number in np.argsort(-np.bincount(predicted), kind="stable")[:10]]
    monitor.add(many)
    monitor.add_labelled(many.take(np.arange(3)), ["never heard of", "class 49", "class 0"], [None] * 3)
    found = record(monitor)
    assert found.realised is not None
    assert found.realised.rows == 3
    assert len(found.label_shift) == 50


def test_one_test_row_is_a_poor_reference_but_no_error() -> None:
    reference, right = answers(2, 1)
    monitor = monitor_of(reference, right, promised=0.8)
    now, was_right = answers(3, 40)
    same = Answers(now.predicted, now.probability, np.full(40, 7), now.unknown_share, now.days)  # all of one length
    found = record(read(monitor, same, was_right))
    assert found.reference.rows == 1
    json.loads(found.as_json())


def test_a_perfect_and_a_hopeless_promise_can_be_bet_on() -> None:
    for promised in (0.0, 1.0):
        monitor = monitor_of(*answers(2, 50), promised=promised, margin=0.0)
        assert math.isfinite(record(read(monitor, *answers(3, 50))).loss.highest)


def test_nothing_read_is_ok_and_says_nothing() -> None:
    found = record(monitor_of(*answers(2, 50)))
    assert (found.status, found.reasons, found.answers, found.first_day) == ("ok", (), 0, "")
    assert found.estimated is None
    assert found.realised is None
    json.loads(found.as_json())


def test_texts_without_an_answer_are_counted_on_their_day() -> None:
    monitor = monitor_of(*answers(2, 50))
    monitor.add(answers(3, 0)[0], ["2026-12-01", "2026-12-02"])
    found = record(monitor)
    assert (found.unanswered, found.answers) == (2, 0)
    assert [day.day for day in found.days] == ["2026-12-01", "2026-12-02"]


def test_classes_are_named_in_the_order_of_the_model() -> None:
    monitor = monitor_of(*answers(2, 300, positive=0.9))
    assert list(monitor.by_class) == [CLASSES[1], CLASSES[0]]  # the most frequent first
