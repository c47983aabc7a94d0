"""The monitor's benchmark simulates the package's own statistics, and the rules that it is compared with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from scipy.stats import ks_2samp, kstwo
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from benchmarks.monitor import __main__ as benchmark
from benchmarks.monitor import champion as real
from benchmarks.monitor import delays, guards, quiet
from benchmarks.monitor import years as changelog
from benchmarks.monitor.champion import Champion, Scored, drifts, losses, no_drift
from benchmarks.monitor.delays import rows_until_alarm
from benchmarks.monitor.evidently import Sentences, domain_auc, random_percentile
from benchmarks.monitor.guards import labels_until_found, wins_needed
from benchmarks.monitor.lockstep import Lockstep
from benchmarks.monitor.quiet import ks_statistic, monitored, weekly_ks
from benchmarks.monitor.tables import Table, delay, rate
from headway.monitoring.answers import Answers
from headway.monitoring.guard import log10_capital
from headway.monitoring.martingale import ConformalMartingale
from tests.monitoring.streams import OTHER, texts
from tests.real_texts import english


def test_streams_in_lockstep_have_the_capital_of_the_package() -> None:
    p_values = np.random.default_rng(1).random((400, 5)) ** np.array([0.5, 0.8, 1, 1.2, 2])
    streams = Lockstep(5)
    for row in p_values[:200]:
        streams.step(row)
    streams = streams.kept(np.array([True, False, True, True, True]))
    for row in p_values[200:, [0, 2, 3, 4]]:
        streams.step(row)
    for capital, column in zip(streams.capital, (0, 2, 3, 4), strict=True):
        martingale = ConformalMartingale()
        martingale.update(p_values[:, column])
        assert capital == pytest.approx(martingale.value, rel=1e-9)


def test_the_monitor_holds_its_risk_where_weekly_tests_do_not() -> None:
    assert monitored(300, 2_000, 2, seed=1).mean() <= 0.05
    assert weekly_ks(60, weeks=20, scores=2, seed=1).mean() > 0.15


def test_the_ks_test_is_scipys() -> None:
    random = np.random.default_rng(1)
    for shift in (0, 0.05, 0.3):
        first, second = np.sort(random.random(300)), np.sort(random.random(200) + shift)
        expected = ks_2samp(first, second, method="asymp")
        statistic = ks_statistic(first, second)
        assert statistic == pytest.approx(expected.statistic)
        assert kstwo.sf(statistic, 120) == pytest.approx(expected.pvalue)


def test_the_domain_classifier_is_the_pipeline_that_the_rule_describes() -> None:
    texts, _ = english(600)
    reference, current = np.arange(0, 600, 2), np.arange(1, 300, 2)
    lists = [texts[index] for index in (*reference, *current)]
    domain = [0] * len(reference) + [1] * len(current)
    train, test, of_train, of_test = train_test_split(lists, domain, test_size=0.5, random_state=42)
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, max_df=0.5, stop_words="english"),
        SGDClassifier(alpha=1e-4, max_iter=50, penalty="l1", loss="modified_huber", random_state=42),
    ).fit(train, of_train)
    expected = roc_auc_score(of_test, model.predict_proba(test)[:, 1])
    assert domain_auc(Sentences.of(texts), reference, current) == pytest.approx(expected, abs=1e-9)


def test_the_percentile_of_random_scores_is_that_of_the_normal_approximation() -> None:
    spread = math.sqrt((1 / 12) * (1 / 250 + 1 / 450))
    assert random_percentile(900, 500, seed=1) == pytest.approx(0.5 + 1.645 * spread, abs=0.005)


@pytest.mark.parametrize("quiet_rows", [0, 30])
def test_rows_until_the_alarm_are_those_of_the_package(quiet_rows: int) -> None:
    streams, martingale = Lockstep(2), ConformalMartingale([120.0])
    for _ in range(quiet_rows):
        streams.step(np.array([0.6, 0.6]))
    martingale.update(np.concatenate([np.full(quiet_rows, 0.6), np.full(100, 0.05)]))
    crossed = martingale.crossed_at(120.0)
    assert crossed is not None
    found = rows_until_alarm(streams, lambda u, _: np.full(len(u), 0.05), np.random.default_rng(1))
    assert found.tolist() == [crossed - quiet_rows] * 2


def test_what_is_not_found_within_the_longest_simulation_is_infinite(monkeypatch: pytest.MonkeyPatch) -> None:
    martingale = ConformalMartingale([120.0])
    martingale.update(np.full(100, 0.05))
    needed = martingale.crossed_at(120.0)
    for longest, found in ((needed, [needed, np.inf]), (needed - 1, [np.inf, np.inf])):
        monkeypatch.setattr(delays, "LONGEST", longest)
        rows = rows_until_alarm(Lockstep(2), lambda u, _: np.array([0.05, 0.6])[: len(u)], np.random.default_rng(1))
        assert rows.tolist() == found


def test_the_fewest_wins_are_those_of_the_guard() -> None:
    needed = wins_needed(40)
    for rows in range(1, 41):
        capitals = log10_capital(np.arange(rows + 1), rows - np.arange(rows + 1))
        enough = np.flatnonzero(capitals >= math.log10(20))
        assert needed[rows - 1] == (enough[0] if len(enough) else rows + 1)


def test_equal_models_are_seldom_rolled_back_and_better_ones_are_found() -> None:
    assert np.isfinite(labels_until_found(500, 0.1, 0.0, seed=1)).mean() <= 0.05
    assert np.isfinite(labels_until_found(100, 0.1, 0.04, seed=1)).all()


def test_labels_count_the_rows_on_which_the_models_agree() -> None:
    """If the former champion gets every discordant row, the number of these is known, and a fifth of the rows are discordant."""
    discordant = 1 + int(np.argmax(wins_needed(40) <= np.arange(1, 41)))
    assert labels_until_found(2_000, 0.2, 0.2, seed=1).mean() == pytest.approx(discordant / 0.2, rel=0.03)


def test_a_table_is_markdown() -> None:
    table = Table("No drift", "A note.", ("a", "b"), [("1", "2")])
    assert table.markdown() == "## No drift\n\nA note.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_shares_have_exact_intervals_and_delays_say_when_they_are_unknown() -> None:
    assert rate(np.zeros(100, dtype=bool)) == ("0.00%", "0.00% to 3.62%")
    assert delay(np.array([10.0, 20, 30, 1_000, np.inf])) == "30 / –"


def test_the_benchmark_prints_its_tables_and_writes_them_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module, name, value in (
        (delays, "STARTS", (0, 10)),
        (delays, "LONGEST", 200),
        (delays, "LABELLED_STARTS", (0, 10)),
        (guards, "LONGEST", 500),
        (quiet, "TEXT_WEEKS", 2),
    ):
        monkeypatch.setattr(module, name, value)
    page = tmp_path / "monitor.md"
    monkeypatch.setattr("sys.argv", ["monitor", "--no-real", "--streams", "20", "--rows", "4000", "--out", str(page)])
    benchmark.main()
    text = page.read_text(encoding="utf-8")
    assert f"`python -m benchmarks.monitor --no-real --streams 20 --rows 4000 --out {page}`" in text
    assert text.count("\n## ") == 6
    assert "## No drift: streams with any false alarm" in capsys.readouterr().out


def test_real_answers_in_random_order_are_no_change_and_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulations with a champion, on answers that stand for those of a trained model."""
    monkeypatch.setattr(real, "DRIFTING", 3)
    champion = Champion(FakePackage(), *(answered(seed, length) for seed, length in ((0, 5.0), (1, 3.0), (2, 2.0))))  # type: ignore[arg-type]
    unchanged = no_drift(champion, 10, 1)
    assert [row[1] for row in unchanged.rows] == ["0.00%", "0.00%", "0.00%"]
    found = {row[0]: row[2] for row in drifts(champion, 1).rows}
    assert found["100% Rotten Tomatoes sentences"] == "100.00%"
    lost = losses(champion, 1).rows
    assert [row[3] for row in lost][-1] == "100.00%"


def test_other_words_in_later_years_are_shown_and_the_same_in_random_order_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelog, "REFERENCE", 300)
    monkeypatch.setattr(changelog, "LONGEST", 400)
    monkeypatch.setattr(changelog, "STREAMS", 3)
    monkeypatch.setattr(changelog, "SHUFFLED", 3)
    entries = [*texts(0, 800), *texts(1, 400, OTHER)]
    years = np.array(["2015"] * 800 + ["2017"] * 400)
    later, shuffled = changelog.by_year(entries, years, 1).rows
    assert later[:2] == ("2017", "400")
    assert 200 < int(later[3].split(" / ")[0]) < 300
    assert later[4] == "100.00%"
    assert shuffled[2:5] == ("– / –", "– / –", "0.00%")


class FakePackage:
    classes: ClassVar = ["negative", "positive"]


def answered(seed: int, length: float) -> Scored:
    random = np.random.default_rng(seed)
    rows = 1_200
    predicted, right = random.integers(0, 2, rows), random.random(rows) < 0.9
    answers = Answers(
        predicted,
        0.7 + 0.3 * random.random(rows),
        np.exp(random.normal(length, 0.5, rows)).astype(np.int64),
        0.1 * random.random(rows),
        np.full(rows, "2026-01-01"),
    )
    return Scored(["text"] * rows, answers, np.where(right, predicted, 1 - predicted))
