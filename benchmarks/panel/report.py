"""What the panel's measurements say: a row per cell, the mean over cells, paired intervals and targets. Nothing here trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks.panel.cells import SMALL_ROWS, Cell
from benchmarks.panel.measurement import ATTENTION, BASELINE, JOINT, MODELS, NGRAMS
from benchmarks.targets import Target
from headway.evaluation.metrics import Interval

RESAMPLES, CONFIDENCE = 10_000, 0.95
#: Targets, in points of accuracy, and in seconds.
LEAST_OF_A_CELL, LEAST_GAIN, LEAST_OF_ATTENTION, MOST_SECONDS = -0.3, 2.0, 0.5, 60.0
#: Share of the cells in which the attention part has a weight above 0.01, at least.
WEIGHT, LEAST_WEIGHTED = 0.01, 0.5

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A cell with the results of all seeds.

    Attributes:
        cell: that was measured.
        results: one per seed, of :meth:`benchmarks.panel.measurement.Measurement.result`.
    """

    cell: Cell
    results: Sequence[Result]

    def score(self, model: str, name: str = "accuracy") -> float:
        """A score of a model, the mean over seeds."""
        return float(mean(result["models"][model][name] for result in self.results))

    @property
    def majority(self) -> float:
        """Share of the largest class in the test rows, the mean over seeds."""
        return float(mean(result["majority"] for result in self.results))

    @property
    def weight(self) -> float:
        """Weight of the attention part's logits, the mean over seeds."""
        return float(mean(result["weights"][1] for result in self.results))

    @property
    def is_untrained(self) -> bool:
        """Whether the attention part alone is no better than the largest class, in any seed."""
        return any(result["models"][ATTENTION]["accuracy"] <= result["majority"] for result in self.results)

    def seconds(self, *names: str) -> float:
        """Seconds of some parts together, the median over seeds."""
        return float(np.median([sum(result["seconds"][name] for name in names) for result in self.results]))

    @property
    def training_seconds(self) -> float:
        """Seconds of the whole training after the texts are encoded, the median over seeds."""
        return self.seconds(NGRAMS, ATTENTION, "join")

    def gain(self, over: str, of: str = JOINT) -> Interval:
        """Accuracy of a model minus that of another on the same rows, from -1 to 1, with its interval.

        Rows are resampled with their answers in all seeds, because a text can be a test row in more than one.
        """
        differences: dict[str, list[int]] = {}
        for result in self.results:
            answers = (result["models"][name]["correct"] for name in (of, over))
            for row, one, other in zip(result["ids"], *answers, strict=True):
                differences.setdefault(row, []).append(int(one) - int(other))
        sums = np.array([sum(found) for found in differences.values()])
        counts = np.array([len(found) for found in differences.values()])
        return bootstrap_ratio(sums, counts)


def bootstrap_ratio(sums: np.ndarray, counts: np.ndarray, seed: int = 0) -> Interval:
    """The mean of grouped values, with a percentile bootstrap interval over the groups.

    Groups with the same sum and count are interchangeable, so how often each kind of group is drawn is multinomial.

    Args:
        sums: of the values in each group, shape (groups,).
        counts: of the values in each group, shape (groups,).
        seed: of the resamples.
    """
    kinds, frequency = np.unique(np.stack([sums, counts]), axis=1, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(sums), frequency / len(sums), size=RESAMPLES)  # (resamples, kinds)
    means = (drawn @ kinds[0]) / (drawn @ kinds[1])
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))


def mean_gain(rows: Sequence[Row], over: str, of: str = JOINT) -> Interval:
    """Mean over cells of the gain in accuracy, with an interval over text sets, because cells of one set share rows."""
    gains: dict[str, list[float]] = {}
    for row in rows:
        gains.setdefault(row.cell.set.name, []).append(row.gain(over, of).value)
    return bootstrap_ratio(
        np.array([sum(found) for found in gains.values()]), np.array([len(found) for found in gains.values()])
    )


def targets(rows: Sequence[Row]) -> list[Target]:
    """The targets of the panel and whether they are met."""
    behind = [row for row in rows if 100 * row.gain(BASELINE).value < LEAST_OF_A_CELL]
    untrained = [row for row in rows if row.is_untrained]
    gain, added = 100 * mean_gain(rows, BASELINE).value, 100 * mean_gain(rows, NGRAMS).value
    median_gain = 100 * median(row.gain(BASELINE).value for row in rows)
    weighted = sum(row.weight > WEIGHT for row in rows) / len(rows)
    small = [row for row in rows if row.cell.is_small]
    slow = [row for row in small if row.training_seconds > MOST_SECONDS]
    return [
        (
            f"joint at least {minus(LEAST_OF_A_CELL)} points above the linear baseline in every cell: {_all_but(behind, rows)}",
            not behind,
        ),
        (
            f"attention above the share of the largest class, in every cell and seed: {_all_but(untrained, rows)}",
            not untrained,
        ),
        (
            f"joint above the linear baseline: {points(gain)} points on average (median {points(median_gain)}), "
            f"at least {points(LEAST_GAIN)}",
            gain >= LEAST_GAIN,
        ),
        (
            f"joint above the n-grams: {points(added)} points on average, at least {points(LEAST_OF_ATTENTION)}",
            added >= LEAST_OF_ATTENTION,
        ),
        (
            f"attention has a weight above {WEIGHT} in {weighted:.0%} of the cells, most of them required",
            weighted > LEAST_WEIGHTED,
        ),
        (f"training takes at most {MOST_SECONDS:.0f} s in every small cell: {_all_but(slow, small)}", not slow),
    ]


def _all_but(exceptions: Sequence[Row], rows: Sequence[Row]) -> str:
    names = f" (not {', '.join(row.cell.name for row in exceptions)})" if exceptions else ""
    return f"{len(rows) - len(exceptions)} of {len(rows)}{names}"


def minus(value: float, digits: int = 1) -> str:
    """A number with a true minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")


def points(value: float, digits: int = 2) -> str:
    """A difference in points with its sign."""
    return f"{value:+.{digits}f}".replace("-", "−")


def interval(found: Interval) -> str:
    """A difference in points with its interval."""
    low, high = (points(100 * bound) for bound in (found.low, found.high))
    return f"{points(100 * found.value)} ({low} to {high})"


def markdown(rows: Sequence[Row], skipped: Mapping[str, str], notes: Sequence[str]) -> str:
    """The page with the tables and the targets.

    Args:
        rows: the measured cells.
        skipped: reasons by name of the sets that could not be had.
        notes: sentences about this run.
    """
    most, fewest = (choose(len(row.results) for row in rows) for choose in (max, min))
    fewer = f" ({fewest} in cells with {SMALL_ROWS:,} rows or more)" if fewest < most else ""
    sets = {row.cell.set.name: row.cell.set for row in rows}
    languages = {found.language for found in sets.values()} - {"many"}
    lines = [
        "# The panel",
        "",
        f"Headway on {len(sets)} real text sets in {len(languages)} languages, {len(rows)} cells, "
        f"{_counted(most, 'seed')}{fewer}. "
        "`make bench-panel` writes this page; [benchmarks](../docs/benchmarks.md#the-panel) says how it measures.",
        *(["", *notes] if notes else []),
        "",
        "## Targets",
        "",
        *(f"- {words}: {'met' if met else '**not met**'}" for words, met in targets(rows)),
        "",
        "## Accuracy",
        "",
        "Test accuracy in percent, the mean over seeds. Differences are in points over all test rows of all seeds, with the"
        " paired 95% interval; the interval of the mean row is over text sets.",
        "",
        *_table(
            ["cell", "rows", "classes", "largest", *MODELS, "joint − baseline", "joint − n-grams", "weight"],
            [_accuracies(row) for row in rows] + [_mean_accuracies(rows), _median_accuracies(rows)],
        ),
        "",
        "Largest: share of the largest class in the test rows. Weight: that of the attention part's logits in the joint model.",
        "",
        "## Macro F1, likelihood, time",
        "",
        "Macro F1 in percent and negative log-likelihood in nats per text, on the test rows. Seconds of fitting the n-grams and"
        " the attention part; steps of the attention part until it stopped, and at most.",
        "",
        *_table(
            [
                "cell",
                *(f"F1 {name}" for name in MODELS),
                *(f"NLL {name}" for name in MODELS),
                "s n-grams",
                "s attention",
                "tokens a batch",
                "steps",
            ],
            [_details(row) for row in rows] + [_mean_details(rows)],
        ),
        "",
        "## Sets",
        "",
        *_table(
            ["set", "language", "script", "licence", "package"],
            [[one.name, one.language, one.script, one.licence, one.package] for one in sets.values()],
        ),
        *([""] if skipped else []),
        *(f"Skipped: {name}, {reason}" for name, reason in skipped.items()),
    ]
    return "\n".join(lines) + "\n"


def _accuracies(row: Row) -> list[str]:
    return [
        row.cell.name,
        f"{len(row.cell.frame):,}",
        str(row.cell.classes),
        f"{100 * row.majority:.1f}",
        *(f"{100 * row.score(name):.1f}" for name in MODELS),
        interval(row.gain(BASELINE)),
        interval(row.gain(NGRAMS)),
        f"{row.weight:.2f}",
    ]


def _mean_accuracies(rows: Sequence[Row]) -> list[str]:
    return [
        "**mean**",
        "",
        "",
        f"{100 * mean(row.majority for row in rows):.1f}",
        *(f"{100 * mean(row.score(name) for row in rows):.1f}" for name in MODELS),
        interval(mean_gain(rows, BASELINE)),
        interval(mean_gain(rows, NGRAMS)),
        f"{mean(row.weight for row in rows):.2f}",
    ]


def _median_accuracies(rows: Sequence[Row]) -> list[str]:
    gains = (points(100 * median(row.gain(over).value for row in rows)) for over in (BASELINE, NGRAMS))
    accuracies = (f"{100 * median(row.score(name) for row in rows):.1f}" for name in MODELS)
    return ["**median**", "", "", "", *accuracies, *gains, f"{median(row.weight for row in rows):.2f}"]


def _details(row: Row) -> list[str]:
    schedules = [result["schedule"] for result in row.results]
    batch, ended, most = (
        round(float(np.median([found.get(name, 0) for found in schedules])))
        for name in ("tokens_per_batch", "ended_step", "steps")
    )
    return [
        row.cell.name,
        *(f"{100 * row.score(name, 'macro_f1'):.1f}" for name in MODELS),
        *(f"{row.score(name, 'nll'):.3f}" for name in MODELS),
        f"{row.seconds(NGRAMS):.0f}",
        f"{row.seconds(ATTENTION):.0f}",
        f"{batch:,}",
        f"{ended:,} of {most:,}",
    ]


def _mean_details(rows: Sequence[Row]) -> list[str]:
    return [
        "**mean**",
        *(f"{100 * mean(row.score(name, 'macro_f1') for row in rows):.1f}" for name in MODELS),
        *(f"{mean(row.score(name, 'nll') for row in rows):.3f}" for name in MODELS),
        f"{mean(row.seconds(NGRAMS) for row in rows):.0f}",
        f"{mean(row.seconds(ATTENTION) for row in rows):.0f}",
        "",
        "",
    ]


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, as lines."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *body)]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
