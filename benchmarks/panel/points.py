"""A cell of the panel at points of a search space: each as a trial of the search, and as the full training with the same seed.

Finished points are kept, and belong to this file's code. So what shows them is elsewhere, in :mod:`benchmarks.panel.ranks`.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.panel.measurement import DATA_STAGES, MODEL_SECTIONS, MODEL_STAGES, Measurement, timed
from headway.data.batching.datamodule import WholeTexts
from headway.data.tokenization import tokenizer
from headway.data.tokenization.encoded import EncodedTexts
from headway.errors import HeadwayError
from headway.files import read_json, sha256_of_file, sha256_of_json, write_json
from headway.layout import Layout
from headway.model.fitting import fit_ngrams
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier
from headway.params import Params
from headway.ranges import Value
from headway.search.goals import KEPT_BY, OBJECTIVES, kept
from headway.search.objective import Shared, run_trial
from headway.search.trial import Task
from headway.stages.train import join
from headway.stages.train.fitting import fit_attention
from headway.stages.tune.rows import load_shared

#: Names of the parts that trials are scored by, of the full training with another seed, and of the metrics.
JOINT, ATTENTION, AGAIN = "joint", "attention", "again"
ACCURACY, NLL = "accuracy", "nll"
#: Added to the seed of the full training to make the other one.
OTHER_SEED = 1_000
#: The entries of a trial's curve with its scores.
ENTRIES = {
    (JOINT, ACCURACY): OBJECTIVES["accuracy"].entry,
    (JOINT, NLL): OBJECTIVES["negative_log_likelihood"].entry,
    (ATTENTION, ACCURACY): "validation_accuracy",
    (ATTENTION, NLL): KEPT_BY,
}

#: Accuracy and negative log-likelihood in nats on the validation rows; empty if the training failed.
Scores = dict[str, float]


@dataclass(frozen=True)
class PointMeasurements(Measurement):
    """A cell with one seed, measured at points of a search space."""

    def at(self, point: Mapping[str, Value]) -> dict[str, Any]:
        """The scores of a point, measured unless they are known.

        Returns:
            Scores of the trial by its ``joint`` model and its ``attention`` part, of the ``full`` training's joint model, and of
            that model trained ``again`` with another seed; ``seconds`` of the trial and of both trainings, without the fits of
            the n-grams, which all points share; the ``reason`` if one of them failed.
        """
        code = self._key((*DATA_STAGES, *MODEL_STAGES, "tune"), (*MODEL_SECTIONS, "tune")), sha256_of_file(Path(__file__))
        file = self.folder / f"point-{sha256_of_json([code, dict(point)])[:16]}.json"
        if not file.exists():
            write_json(file, self._measure_at(point, file.with_suffix(".checkpoints")))
        return dict(read_json(file, made_by="benchmark"))

    def _measure_at(self, point: Mapping[str, Value], checkpoints: Path) -> dict[str, Any]:
        shared, ngrams = self._shared, self._ngrams  # not part of the time of a point
        seconds: dict[str, float] = {}
        with timed("trial", seconds):
            outcome = run_trial(shared, Task(0, dict(point)))
        scores: dict[str, Scores] = {JOINT: {}, ATTENTION: {}}
        if outcome.state == "complete":
            for (part, metric), entry in ENTRIES.items():
                scores[part][metric] = kept(outcome.curve)[entry]
        reason = outcome.reason
        for name, seed in (("full", self.seed), (AGAIN, self.seed + OTHER_SEED)):
            with timed(name, seconds):
                try:
                    scores[name] = self._train(self.params.at(point).override({"seed": seed}), ngrams, checkpoints)
                except HeadwayError as error:  # it diverged, or memory ran out
                    scores[name], reason = {}, str(error)
        shutil.rmtree(checkpoints, ignore_errors=True)
        return {"point": dict(point), **scores, "seconds": seconds, "reason": reason}

    def _train(self, knobs: Params, ngrams: NgramClassifier | None, checkpoints: Path) -> Scores:
        """The scores of the joint model as the stage train makes it."""
        shutil.rmtree(checkpoints, ignore_errors=True)
        train, validation = self._splits
        vocabulary_size = tokenizer.load(self._layout.encoded / "tokenizer.json").get_vocab_size()
        class_rows = self._shared.class_rows
        fitted = fit_attention(train, validation, vocabulary_size, len(class_rows), knobs, checkpoints)
        report = join(JointClassifier(ngrams, fitted.classifier), validation, class_rows)
        return {ACCURACY: report["validation_accuracy"], NLL: report["validation_nll"]["after"]}

    @cached_property
    def _layout(self) -> Layout:
        return self.data()

    @cached_property
    def _splits(self) -> list[EncodedTexts]:
        """Training and validation rows."""
        return [EncodedTexts.open(self._layout.encoded / f"{name}.arrow") for name in ("train", "validation")]

    @cached_property
    def _shared(self) -> Shared:
        with _silenced():
            return load_shared(self.params, self._layout)

    @cached_property
    def _ngrams(self) -> NgramClassifier | None:
        """The n-grams of the full training."""
        with _silenced():
            return fit_ngrams(WholeTexts(*self._splits), len(self._shared.class_rows), self.params)


def _silenced() -> redirect_stdout[io.StringIO]:
    """Keeps what the block prints from the terminal."""
    return redirect_stdout(io.StringIO())
