"""The gate's checks in words and units for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headway.reporting.formatting import ABSENT, points, shown, signed

if TYPE_CHECKING:
    from headway.promotion.check import Check

TITLES = {
    "enough_test_rows": "Enough test rows",
    "proper_probabilities": "Proper probabilities",
    "unseen_test_rows": "Test rows not seen in training",
    "no_worse_than_baseline": "Not worse than the linear baseline",
    "no_worse_than_champion": "Not worse than the champion",
    "better_than_champion": "Better than the champion",
    "same_labels": "Has the champion's labels",
    "macro_f1": "Macro F1",
    "negative_log_likelihood": "Probabilities (negative log-likelihood)",
    "calibration": "Calibration",
    "slices": "No slice is worse",
    "power": "Power of the comparison",
    "latency": "Latency",
    "size": "Size",
}
#: Checks whose value is a difference of shares.
DIFFERENCES = {
    "no_worse_than_baseline",
    "no_worse_than_champion",
    "better_than_champion",
    "macro_f1",
    "calibration",
}


class Row(NamedTuple):
    """A check as the page shows it."""

    passed: bool
    name: str
    title: str
    value: str
    explanation: str


def row(check: Check) -> Row:
    """A check with its title, and its value in the unit that people use."""
    title = TITLES.get(check.name, check.name.replace("_", " "))
    return Row(check.passed, check.name, title, _value(check), check.explanation)


def _value(check: Check) -> str:
    value = check.value
    if value is None:
        return ABSENT
    if check.name in DIFFERENCES:
        return points(value, check.low, check.high)
    if check.name == "negative_log_likelihood":
        bounds = (
            f" ({signed(check.low)} to {signed(check.high)})" if check.low is not None and check.high is not None else ""
        )
        return f"{signed(value)} nats{bounds}"
    whole, limit = f"{value:,.0f}", f", required: above {check.threshold:.2g}" if check.threshold is not None else ""
    units = {
        "enough_test_rows": f"{whole} rows",
        "proper_probabilities": f"{whole} improper",
        "same_labels": f"{whole} missing",
        "latency": f"{value:,.1f} ms",
        "size": f"{value:,.1f} MB",
        "slices": f"smallest p = {value:.2g}{limit}",
        "power": f"passes from {points(value)} up",
    }
    return units.get(check.name, shown(value))
