"""Latency is measured on the same texts for all models, in alternation, after a warm-up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headway.errors import HeadwayError
from headway.serving.latency import ROUNDS, SAMPLE, WARM_UP, measure, package_bytes


class Machine:
    """A clock that only models move; and what each model was asked, in order."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[tuple[str, str]] = []
        self.busy = False

    def clock(self) -> float:
        return self.now


class Model:
    """Takes a number of milliseconds per character, and twice that while its machine is busy."""

    def __init__(self, machine: Machine, name: str, milliseconds: float) -> None:
        self.machine, self.name, self.milliseconds = machine, name, milliseconds

    def predict_proba(self, texts: list[str]) -> np.ndarray:
        (text,) = texts
        self.machine.asked.append((self.name, text))
        self.machine.now += len(text) * self.milliseconds / 1000 * (2 if self.machine.busy else 1)
        return np.array([[0.5, 0.5]])


@pytest.fixture
def machine() -> Machine:
    return Machine()


def models(machine: Machine) -> dict[str, Model]:
    return {"candidate": Model(machine, "candidate", 2.0), "champion": Model(machine, "champion", 1.0)}


def test_latency_is_the_95th_percentile_over_texts(machine: Machine) -> None:
    latency = measure(models(machine), ["x" * length for length in range(1, 102)], machine.clock)
    assert latency["champion"] == pytest.approx(96)
    assert latency["candidate"] == pytest.approx(192)


def test_models_alternate_on_every_text_and_rotate_who_is_first(machine: Machine) -> None:
    texts = [f"{'text' * index} {index}" for index in range(20)]
    measure(models(machine), texts, machine.clock)
    measured = machine.asked[2 * WARM_UP :]
    assert len(measured) == 2 * ROUNDS * len(texts)
    pairs = list(zip(measured[::2], measured[1::2], strict=True))
    assert all(one[1] == other[1] and one[0] != other[0] for one, other in pairs)
    assert [one[0] for one, _ in pairs[:4]] == ["candidate", "champion", "candidate", "champion"]
    # The same text has another model first in the next round.
    assert pairs[0][0][0] != pairs[len(texts)][0][0]


def test_a_disturbance_in_one_round_does_not_count(machine: Machine) -> None:
    undisturbed = measure(models(machine), ["a text", "another text"], machine.clock)
    calls = 0

    class Disturbed(Model):
        def predict_proba(self, texts: list[str]) -> np.ndarray:
            nonlocal calls
            calls += 1
            machine.busy = calls <= 4  # two texts to warm up, and the whole first round
            return super().predict_proba(texts)

    one = {"candidate": Disturbed(machine, "candidate", 2.0)}
    assert measure(one, ["a text", "another text"], machine.clock)["candidate"] == pytest.approx(undisturbed["candidate"])


def test_texts_are_sampled_evenly_by_length_in_any_order(machine: Machine) -> None:
    texts = ["x" * length for length in np.random.default_rng(0).permutation(np.arange(1, 5001))]
    measure(models(machine), texts, machine.clock)
    lengths = sorted({len(text) for _, text in machine.asked})
    assert len(lengths) == SAMPLE
    assert (lengths[0], lengths[-1]) == (1, 5000)
    assert max(np.diff(lengths)) <= 26


def test_latency_without_texts_is_refused(machine: Machine) -> None:
    with pytest.raises(HeadwayError, match="no texts"):
        measure(models(machine), [], machine.clock)


def test_a_package_is_as_large_as_its_files(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"x" * 1000)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "config").write_bytes(b"x" * 24)
    assert package_bytes(tmp_path) == 1024
