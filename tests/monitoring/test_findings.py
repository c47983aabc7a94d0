"""What labels show: a loss, a class that is worse, a biased sample, and a former champion that was better."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import mannwhitneyu

from headway.monitoring.answers import Answers
from headway.monitoring.label_bias import rank_test
from headway.monitoring.monitor import Monitor, Reference, Terms
from tests.monitoring.streams import CLASSES, answers, monitor_of, names, read, record, truth


@pytest.fixture
def monitor() -> Monitor:
    return monitor_of(*answers(2, 1_500))


def worse(right: np.ndarray, by: float, where: np.ndarray | None = None) -> np.ndarray:
    """The same with a share of the right answers wrong, at random."""
    turned = np.random.default_rng(9).random(len(right)) < by
    return right & ~(turned if where is None else turned & where)


def test_an_accuracy_as_promised_raises_no_alarm(monitor: Monitor) -> None:
    found = record(read(monitor, *answers(3, 600)))
    assert (found.status, found.labels_biased) == ("ok", "")


def test_an_accuracy_well_below_the_promise_raises_an_alarm(monitor: Monitor) -> None:
    now, right = answers(3, 600)
    found = record(read(monitor, now, worse(right, 0.25)))
    assert found.status == "alarm"
    assert found.reasons[0].startswith(f"the accuracy of the labelled answers is below {100 * found.accepted:.1f}%")
    assert found.loss.crossed_row is not None
    assert found.realised is not None
    assert found.realised.high < found.accepted + 0.05


def test_a_loss_within_the_margin_raises_no_alarm() -> None:
    lenient = monitor_of(*answers(2, 1_500), margin=0.3)
    now, right = answers(3, 600)
    assert record(read(lenient, now, worse(right, 0.2))).status == "ok"


def test_a_class_that_gets_worse_alone_is_named(monitor: Monitor) -> None:
    now, right = answers(3, 2_000, positive=0.5)
    found = record(read(monitor, now, worse(right, 0.2, now.predicted == 1)))
    assert found.status == "alarm"
    assert [one.name for one in found.by_class if one.capital.crossed] == ["positive"]
    assert any("'positive'" in reason for reason in found.reasons)
    assert not any("'negative'" in reason for reason in found.reasons)


def test_a_loss_that_few_labels_of_many_answers_show_is_a_warning(monitor: Monitor) -> None:
    now, _ = answers(3, 600)
    monitor.add(now)
    for rows, status in ((slice(0, 25), "warning"), (slice(25, 50), "alarm")):
        monitor.add_labelled(now.take(np.arange(600)[rows]), ["neither"] * 25, [None] * 25)
        assert record(monitor).status == status


def test_few_answers_that_are_all_labelled_are_no_sample(monitor: Monitor) -> None:
    now, right = answers(3, 20)
    assert record(read(monitor, now, ~right)).status == "alarm"


@pytest.mark.parametrize("complaints", [5, 20, 40, 80, 150])
def test_labels_of_wrong_answers_only_are_no_alarm(complaints: int) -> None:
    random_monitor = monitor_of(*answers(2, 1_500))
    now, right = answers(3, 2_000)
    random_monitor.add(now)
    wrong = np.flatnonzero(~right)[:complaints]
    some = now.take(wrong)
    random_monitor.add_labelled(some, names(truth(some, right[wrong])), [None] * len(wrong))
    found = record(random_monitor)
    assert found.status != "alarm", found.reasons


def test_a_biased_sample_is_named_and_weighted_as_all_answers_are(monitor: Monitor) -> None:
    now, right = answers(3, 3_000)
    monitor.add(now)
    chosen = np.flatnonzero((now.probability < 0.75) | (np.arange(3_000) % 40 == 0))  # mostly unsure ones are checked
    some = now.take(chosen)
    monitor.add_labelled(some, names(truth(some, right[chosen])), [None] * len(chosen))
    found = record(monitor)
    assert "in confidence" in found.labels_biased
    assert found.status == "warning"
    assert any("may not hold for all answers" in reason for reason in found.reasons)
    assert found.realised is not None
    assert found.reweighted is not None
    assert abs(found.reweighted - right.mean()) < abs(found.realised.value - right.mean()) / 3


@given(arrays(np.int64, (2, 6), elements=st.integers(0, 30)))
def test_the_rank_test_is_scipys(counts: np.ndarray) -> None:
    samples = [np.repeat(np.arange(6), one) for one in counts]
    if min(map(len, samples)) and len(np.unique(np.concatenate(samples))) > 1:
        expected = mannwhitneyu(*samples, method="asymptotic", use_continuity=False).pvalue
        assert rank_test(*counts) == pytest.approx(expected)


def test_labels_that_begin_after_a_change_are_not_called_biased(monitor: Monitor) -> None:
    monitor.add(answers(3, 600, day="2026-12-01")[0])
    now, right = answers(4, 600, sureness=1.0, day="2026-12-02")
    monitor.add(now)
    chosen = np.arange(0, 600, 2)
    some = now.take(chosen)
    monitor.add_labelled(some, names(truth(some, worse(right, 0.3)[chosen])), [None] * len(chosen))
    found = record(monitor)
    assert found.labels_biased == ""
    assert found.reasons[0].startswith("the accuracy of the labelled answers is below")
    assert found.status == "alarm"


def test_labels_of_a_random_sample_are_not_called_biased() -> None:
    now, right = answers(3, 3_000)
    biased = 0
    for seed in range(40):
        monitor = monitor_of(*answers(2, 300))
        monitor.days.add(now)  # without the bets, which take time
        chosen = np.random.default_rng(seed).choice(3_000, 200, replace=False)
        some = now.take(chosen)
        monitor.add_labelled(some, names(truth(some, right[chosen])), [None] * 200)
        biased += record(monitor).labels_biased != ""
    assert biased <= 1


def test_a_former_champion_that_is_better_raises_an_alarm(monitor: Monitor) -> None:
    now, right = answers(3, 1_000)
    truths = truth(now, right)
    better: list[str | None] = [CLASSES[label] if number % 10 else None for number, label in enumerate(truths)]
    found = record(read(monitor, now, right, better), former="1")
    assert found.guard is not None
    assert (found.guard.rows, found.guard.only_champion) == (900, 0)
    assert found.guard.crossed_row is not None
    assert found.status == "alarm"
    assert found.reasons[0].startswith("version 1, the former champion, is more accurate")


def test_a_former_champion_that_is_as_good_raises_none(monitor: Monitor) -> None:
    now, right = answers(3, 1_000)
    shadow: list[str | None] = [*names(now.predicted)]
    found = record(read(monitor, now, right, shadow), former="1")
    assert found.guard is not None
    assert found.guard.crossed_row is None
    assert found.status == "ok"


def test_an_estimate_below_what_is_accepted_is_no_alarm_while_nothing_has_changed() -> None:
    proud = monitor_of(*answers(2, 1_500), promised=0.99)
    found = record(read(proud, answers(3, 600)[0]), promised=0.99)
    assert found.estimated is not None
    assert found.estimated.high < found.accepted
    assert (found.status, found.reasons) == ("ok", ())


def test_a_class_that_the_test_rows_never_named_has_no_promise_to_break() -> None:
    given, right = answers(2, 800)
    monitor = Monitor(Reference(given, truth(given, right), [*CLASSES, "mixed"]), Terms(0.85, 0.03, 0.95, "k"))
    now, _ = answers(3, 60)
    mixed = Answers(np.full(60, 2), now.probability, now.characters, now.unknown_share, now.days)
    monitor.add(mixed)
    monitor.add_labelled(mixed, ["positive"] * 60, [None] * 60)
    found = record(monitor)
    lost = {one.name: one for one in found.by_class}["mixed"]
    assert (lost.promised, lost.labelled, lost.capital.crossed) == (None, 60, False)
    assert lost.accepted == pytest.approx(0, abs=1e-3)
    assert found.loss.crossed  # all answers together were promised more
    assert "predicted class mixed" in {one.name for one in found.drift if one.crossed}


def test_labels_of_classes_that_the_champion_lacks_count_as_errors(monitor: Monitor) -> None:
    now, _ = answers(3, 30)
    monitor.add(now)
    monitor.add_labelled(now, ["mixed"] * 30, [None] * 30)
    found = record(monitor)
    assert found.realised is not None
    assert found.realised.value == 0
    assert sum(day.wrong for day in found.days) == 30
