"""How often the gate promotes a model that is no better, and how often it detects a true gain.

``make bench-gate`` puts simulated counts of discordant rows through the gate's own rule, with the policy of params.yaml, and
writes ``benchmarks/gate.md``. Nothing is trained, and no data are read.
"""

from __future__ import annotations

import argparse
import datetime
import math
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from benchmarks.shipped import PROJECT
from benchmarks.targets import print_targets
from headway.params import GateParams, load
from headway.promotion.alpha_spending import PLANNED_LOOKS, first_promotion_significance, significance
from headway.promotion.history_queries import SAME_TEST_SET
from headway.promotion.paired_tests import detectable_difference, is_non_inferior, is_superior

PAGE = PROJECT / "benchmarks" / "gate.md"
RETRAININGS = 50
ROWS, DISAGREEMENTS, GAINS = (1_000, 2_500, 25_000), (0.05, 0.1, 0.2), (0.005, 0.01, 0.015, 0.02)
#: Rows and disagreement where one case is shown.
CASE = (2_500, 0.1)
#: Test rows that are added at each retraining, as a share of those at the beginning.
GROWTHS = (0.01, 0.05, 0.25)
#: Seconds that all of it may take.
SECONDS = 300

HEAD = """\
# What the gate promotes

`{command}`, {date}, {seconds:.0f} s. Simulated counts of discordant rows go through the gate's own rule
(`src/headway/promotion/paired_tests.py`) with the policy of `params.yaml`. *Disagreement* is the share of rows that
only one of two models gets right. A sequence is 50 retrainings compared on one test set. Power is that of the accuracy
check alone: macro F1, likelihood, calibration, slices and costs must pass as well, and can only lower it.

Corrections: *none* tests every look at 5%, one-sided. *Equal shares of 50* tests at a fiftieth of that, and leaves
nothing for a fifty-first look. With *m planned*, look k gets m / (k (k + m) H) of the 5%, where H = 1 + 1/2 + … + 1/m.
The *Ladder* (without parameters) promotes every gain above its standard error. *Any gain* leaves out
`gate.minimum_gain`. *Counted anew* treats test rows that have grown as a new test set; the gate treats test sets that
share most of their rows as one."""

#: Whether each of many candidates is promoted, from its wins, its losses, the number of rows and the number of the look.
Rule = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]


@dataclass(frozen=True)
class Schedule:
    """The significance levels of all looks at a test set.

    Attributes:
        name: for tables.
        level: of the k-th look, from its number and the budget.
    """

    name: str
    level: Callable[[int, float], float]


NONE = Schedule("none", lambda _, budget: budget)
GATE = Schedule(f"the gate: {PLANNED_LOOKS} planned", significance)
SCHEDULES = (
    NONE,
    Schedule("equal shares of 50", lambda _, budget: budget / RETRAININGS),
    Schedule("1 planned", lambda number, budget: significance(number, budget, planned=1)),
    Schedule("10 planned", lambda number, budget: significance(number, budget, planned=10)),
    GATE,
    Schedule("200 planned", lambda number, budget: significance(number, budget, planned=200)),
)


def main() -> None:
    """Print the tables and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sequences", type=int, default=10_000, help="gate sequences of 50 retrainings in each case")
    parser.add_argument("--draws", type=int, default=2_000, help="candidates of a true gain in each case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=PAGE, help="page to write")
    arguments = parser.parse_args()
    started = time.monotonic()
    policy = load(PROJECT / "params.yaml").gate
    simulation = Simulation(policy, arguments.sequences, arguments.draws, arguments.seed)
    console = Console(width=max(130, Console().width))
    tables = []
    for make in (
        simulation.false_promotions,
        simulation.growing_rows,
        simulation.false_non_inferiority,
        simulation.false_first_promotions,
        simulation.schedules,
        simulation.power,
    ):
        tables.append(make())
        console.print(tables[-1])
    command = shlex.join(["python", "-m", "benchmarks.gate", *sys.argv[1:]])
    seconds = time.monotonic() - started
    arguments.out.write_text(page(tables, command, seconds), encoding="utf-8")
    print_targets(console, [(f"all of it: {seconds:.0f} s, target {SECONDS}", seconds <= SECONDS)])
    console.print(f"written to {arguments.out}")


@dataclass(frozen=True)
class Simulation:
    """The policy under test, how much is drawn, and from which seed."""

    policy: GateParams
    sequences: int
    draws: int
    seed: int

    @property
    def budget(self) -> float:
        return 1 - self.policy.confidence

    def superior(self, schedule: Schedule, minimum_gain: float | None = None) -> Rule:
        """The gate's rule for ``superior``, with the levels of a schedule."""
        least = self.policy.minimum_gain if minimum_gain is None else minimum_gain
        return lambda wins, losses, rows, number: is_superior(wins, losses, rows, schedule.level(number, self.budget), least)

    def non_inferior(self, schedule: Schedule, margin: float) -> Rule:
        """The gate's rule for ``non_inferior``, and, with the baseline's margin, for first promotions."""
        return lambda wins, losses, rows, number: is_non_inferior(
            wins, losses, rows, schedule.level(number, self.budget), margin
        )

    def false_promotions(self) -> Table:
        """Equal models: how many sequences of 50 retrainings promote any."""
        table = Table("correction", "rows", "disagreement", "sequences with a false promotion", "95% interval")
        table.title = f"policy superior: {self.sequences:,} sequences of {RETRAININGS} retrainings, all models equal"
        rows, disagreement = CASE
        cases: list[tuple[str, Rule, int, float]] = [
            (schedule.name, self.superior(schedule), rows, disagreement) for schedule in SCHEDULES if schedule is not GATE
        ]
        cases.insert(1, ("the Ladder", ladder, rows, disagreement))
        cases.append((f"{GATE.name}, any gain", self.superior(GATE, 0.0), rows, disagreement))
        cases += [(GATE.name, self.superior(GATE), n, share) for n in ROWS for share in DISAGREEMENTS]
        for name, rule, n, share in cases:
            table.add_row(
                name, f"{n:,}", f"{share:.0%}", *self._rate(promoted_any(rule, n, share, 0.0, self.sequences, self.seed))
            )
        return table

    def growing_rows(self) -> Table:
        """Equal models on test rows that grow with every retraining, which are other rows each time and yet much the same."""
        table = Table("correction", "rows added each time", "sequences with a false promotion", "95% interval")
        table.title = f"policy superior, {CASE[0]:,} rows to begin with, {CASE[1]:.0%} disagreement, all models equal"
        anew = Schedule("counted anew", lambda _, budget: significance(1, budget))
        for schedule in (anew, GATE):
            for growth in GROWTHS:
                rule = self.superior(schedule)
                happened = promoted_any(rule, *CASE, 0.0, self.sequences, self.seed, growth=round(growth * CASE[0]))
                table.add_row(schedule.name, f"{growth:.0%}", *self._rate(happened))
        return table

    def false_non_inferiority(self) -> Table:
        """Candidates that are worse by just the margin: how many sequences of 50 promote any."""
        margin = self.policy.champion_margin
        table = Table("correction", "rows", "disagreement", "sequences with a false promotion", "95% interval")
        table.title = f"policy non_inferior: the same, every candidate truly worse by the margin, {100 * margin:.1f} points"
        seldom = [(rows, margin) for rows in (100, 1_000, 2_500)]  # models that differ on no other rows
        return self._worse_by(margin, [(NONE, CASE), *((GATE, case) for case in (CASE, *seldom))], table)

    def false_first_promotions(self) -> Table:
        """Candidates that are worse than the linear baseline by just the margin: how many sequences of 50 promote any."""
        margin = self.policy.baseline_margin
        table = Table("correction", "rows", "disagreement", "sequences with a false promotion", "95% interval")
        table.title = (
            f"first promotions: every candidate truly worse than the baseline by the margin, {100 * margin:.1f} points"
        )
        half = Schedule("none: 2.5% each time", lambda _, budget: budget / 2)
        gate = Schedule("the gate: half for the first", first_promotion_significance)
        return self._worse_by(margin, [(half, CASE), *((gate, case) for case in (CASE, (1_000, 0.1), (25_000, 0.1)))], table)

    def _worse_by(self, margin: float, cases: Sequence[tuple[Schedule, tuple[int, float]]], table: Table) -> Table:
        """A row for each schedule and case (rows, disagreement): how many sequences take a candidate that is so much worse."""
        for schedule, (rows, share) in cases:
            rule = self.non_inferior(schedule, margin)
            happened = promoted_any(rule, rows, share, -margin, self.sequences, self.seed)
            table.add_row(schedule.name, f"{rows:,}", f"{share:.0%}", *self._rate(happened))
        return table

    def schedules(self) -> Table:
        """What each correction leaves of the power, from look to look."""
        numbers = (1, 2, 5, 10, 25, 50)
        gain = GAINS[2]
        table = Table("correction", *(f"look {number}" for number in numbers), "mean of 1 to 10", "mean of 1 to 50")
        table.title = (
            f"probability of detecting a true gain of {100 * gain:.1f} points, {CASE[0]:,} rows, {CASE[1]:.0%} disagreement"
        )
        wins, losses = self._drawn(*CASE, gain)
        for schedule in SCHEDULES:
            rule = self.superior(schedule)
            found = [float(rule(wins, losses, CASE[0], number).mean()) for number in range(1, RETRAININGS + 1)]
            shown = [found[number - 1] for number in numbers]
            table.add_row(schedule.name, *(f"{share:.2f}" for share in (*shown, np.mean(found[:10]), np.mean(found))))
        return table

    def power(self) -> Table:
        """How often the gate detects a true gain at the first, tenth and fiftieth look at a test set."""
        numbers = (1, 10, RETRAININGS)
        table = Table("rows", "disagreement", *(f"{100 * gain:.1f} points" for gain in GAINS), "found with 80%")
        table.title = "probability of detecting a true gain, at look 1 / 10 / 50 at a test set"
        rule = self.superior(GATE)
        for rows in ROWS:
            for disagreement in DISAGREEMENTS:
                cells = []
                for gain in GAINS:
                    drawn = self._drawn(rows, disagreement, gain)
                    cells.append(" / ".join(f"{rule(*drawn, rows, number).mean():.2f}" for number in numbers))
                levels, seen = [GATE.level(number, self.budget) for number in numbers], self.policy.minimum_gain
                least = [detectable_difference(rows, disagreement, level, minimum=seen) for level in levels]
                table.add_row(f"{rows:,}", f"{disagreement:.0%}", *cells, " / ".join(f"{100 * one:.2f}" for one in least))
        return table

    def _drawn(self, rows: int, disagreement: float, gain: float) -> tuple[np.ndarray, np.ndarray]:
        """Wins and losses of candidates that are better by the gain, on fresh rows each."""
        shares = [(disagreement + gain) / 2, (disagreement - gain) / 2, 1 - disagreement]
        wins, losses, _ = np.random.default_rng(self.seed).multinomial(rows, shares, size=self.draws).T
        return wins, losses

    def _rate(self, happened: np.ndarray) -> tuple[str, str]:
        interval = binomtest(int(happened.sum()), len(happened)).proportion_ci(0.95)
        return f"{happened.mean():.2%}", f"{interval.low:.2%} to {interval.high:.2%}"


def promoted_any(
    rule: Rule,
    rows: int,
    disagreement: float,
    gain: float,
    sequences: int,
    seed: int,
    retrainings: int = RETRAININGS,
    growth: int = 0,
) -> np.ndarray:
    """Whether each of many sequences of retrainings, all compared on one test set, promotes any candidate.

    Models agree on the easy rows; on the hard ones, twice the disagreement's share, the champion is right by the toss of a
    coin, and so is a candidate of equal worth. So two of them disagree as often as stated, and all candidates are compared
    with the same answers of one champion on the same rows, which makes the looks of a sequence depend on each other. A first
    promotion settles the question, so the champion need not change.

    Args:
        gain: of every candidate's true accuracy over the champion's.
        growth: rows that are added before each retraining but the first; the gate counts the looks at test sets that share
            most of their rows.

    Returns:
        bool, shape (sequences,).
    """
    random = np.random.default_rng(seed)
    hard = random.binomial(rows, 2 * disagreement, size=sequences)
    champion_right = random.binomial(hard, 0.5)
    chance = 0.5 + gain / (2 * disagreement)
    happened = np.zeros(sequences, dtype=bool)
    for retraining in range(retrainings):
        if retraining and growth:
            more = random.binomial(growth, 2 * disagreement, size=sequences)
            hard, champion_right = hard + more, champion_right + random.binomial(more, 0.5)
        now = rows + retraining * growth
        number = 1 + sum((rows + earlier * growth) / now >= SAME_TEST_SET for earlier in range(retraining))
        wins = random.binomial(hard - champion_right, chance)
        losses = random.binomial(champion_right, 1 - chance)
        happened |= rule(wins, losses, now, number)
    return happened


def ladder(wins: np.ndarray, losses: np.ndarray, rows: int, _: int) -> np.ndarray:
    """The Ladder without parameters (Blum & Hardt 2015, section 3.2): better by more than the gain's standard error.

    It bounds by how much a leaderboard's best score is off, not how often a step up is noise.
    """
    gain = (wins - losses) / rows
    return gain > np.sqrt((wins + losses) / rows - gain**2) / math.sqrt(rows)


def page(tables: Sequence[Table], command: str, seconds: float) -> str:
    """The tables as Markdown, with how they came about."""
    lines = [HEAD.format(command=command, date=f"{datetime.date.today():%-d %B %Y}", seconds=seconds)]
    for table in tables:
        cells = [[*column.cells] for column in table.columns]
        lines += ["", f"## {str(table.title)[0].upper()}{str(table.title)[1:]}", ""]
        lines += [f"| {' | '.join(str(column.header) for column in table.columns)} |", "| " + "--- | " * len(cells)]
        lines += [f"| {' | '.join(map(str, row))} |" for row in zip(*cells, strict=True)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


if __name__ == "__main__":
    main()
