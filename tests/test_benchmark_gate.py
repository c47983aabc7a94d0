"""The gate's benchmark draws what it describes and applies the gate's own rule; its figures are seeded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks import gate as benchmark
from benchmarks.gate import GATE, SCHEDULES, Simulation, ladder, promoted_any
from headway.evaluation.predictions import Predictions
from headway.params import Params
from headway.promotion.gate import GateInput, decide


@pytest.fixture(scope="module")
def simulation(params: Params) -> Simulation:
    return Simulation(params.gate, sequences=500, draws=200, seed=1)


def answers(correct: np.ndarray) -> Predictions:
    """Of a model that is right where ``correct`` is True, and unsure."""
    probabilities = np.where(correct[:, None], [0.6, 0.4], [0.4, 0.6]).astype(np.float32)
    return Predictions([str(row) for row in range(len(correct))], np.zeros(len(correct), dtype=int), probabilities, "ab")


@settings(max_examples=60)
@given(st.integers(0, 60), st.integers(0, 40), st.integers(1, 60), st.sampled_from(["superior", "non_inferior"]))
def test_a_simulated_candidate_gets_the_gates_result_for_a_real_one(
    simulation: Simulation, wins: int, losses: int, number: int, policy: str
) -> None:
    assume(wins or losses)  # of the very same answers there is nothing to be unsure of
    rule = (
        simulation.superior(GATE)
        if policy == "superior"
        else simulation.non_inferior(GATE, simulation.policy.champion_margin)
    )
    row = np.arange(400)
    candidate, champion = answers(row >= losses), answers((row < losses) | (row >= losses + wins))
    chosen = simulation.policy.model_copy(update={"policy": policy, "bootstrap_samples": 100})
    result = decide(GateInput(candidate, candidate, champion, earlier_looks=number - 1), chosen, seed=1)
    (check,) = [check for check in result.checks if check.name.endswith("_than_champion")]
    assert rule(np.array([wins]), np.array([losses]), 400, number).tolist() == [check.passed]


@pytest.mark.parametrize(("disagreement", "gain"), [(0.1, 0.0), (0.05, -0.01), (0.2, 0.02)])
def test_candidates_differ_from_the_champion_as_often_and_by_as_much_as_stated(disagreement: float, gain: float) -> None:
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def look(wins: np.ndarray, losses: np.ndarray, rows: int, number: int) -> np.ndarray:
        seen.append((wins / rows, losses / rows))
        return np.zeros(len(wins), dtype=bool)

    assert not promoted_any(look, 2500, disagreement, gain, sequences=2000, seed=1).any()
    wins, losses = np.array(seen).transpose(1, 0, 2)  # (retrainings, sequences)
    assert len(wins) == 50
    assert (wins + losses).mean() == pytest.approx(disagreement, rel=0.01)
    assert (wins - losses).mean() == pytest.approx(gain, abs=5e-4)
    # One champion on the same rows: the looks of a sequence are correlated.
    difference = wins - losses
    assert np.corrcoef(difference[0], difference[1])[0, 1] == pytest.approx(0.5, abs=0.07)


def test_the_correction_holds_the_false_promotions_that_there_are_without_it(simulation: Simulation) -> None:
    none, gate = (
        promoted_any(simulation.superior(schedule), 2500, 0.1, 0.0, simulation.sequences, simulation.seed).mean()
        for schedule in (SCHEDULES[0], GATE)
    )
    assert none > 0.3
    assert gate <= 0.05


def test_the_ladder_steps_up_by_one_standard_error() -> None:
    """60 won, 40 lost of 1,000: the gain is 20 rows, its standard error the root of 100 − 20² / 1,000, nearly 10."""
    wins, losses = np.array([60, 55, 54]), np.array([40, 45, 46])
    assert ladder(wins, losses, 1000, 1).tolist() == [True, True, False]


def test_rows_that_grow_are_drawn_and_counted_as_they_grow() -> None:
    seen: list[tuple[int, int]] = []

    def rule(wins: np.ndarray, losses: np.ndarray, rows: int, number: int) -> np.ndarray:
        seen.append((rows, number))
        share = (wins + losses).mean() / rows
        assert share == pytest.approx(0.1, rel=0.05)
        return wins < 0

    promoted_any(rule, 1000, 0.1, 0.0, sequences=200, seed=1, retrainings=5, growth=400)
    assert seen == [(1000, 1), (1400, 2), (1800, 3), (2200, 3), (2600, 4)]


def test_the_benchmark_prints_its_tables_and_writes_them_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "gate.md"
    monkeypatch.setattr("sys.argv", ["gate", "--sequences", "20", "--draws", "20", "--out", str(page)])
    benchmark.main()
    text = page.read_text(encoding="utf-8")
    assert f"`python -m benchmarks.gate --sequences 20 --draws 20 --out {page}`" in text
    assert text.count("\n## ") == 6
    assert text.count("| 25,000 | 20% |") == 2
    assert "probability of detecting a true gain" in capsys.readouterr().out
