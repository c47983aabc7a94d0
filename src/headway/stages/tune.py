"""Stage tune: the search. It sees training and validation rows, never the test split."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np

from headway.data import tokenizer
from headway.data.datamodule import TextDataModule, subset
from headway.data.encoded import EncodedTexts
from headway.data.splits import unit_hash
from headway.evaluation import plots
from headway.files import fresh_folder, read_json, sha256_of_file, sha256_of_json, write_json
from headway.layout import Layout
from headway.lineage import code_fingerprint
from headway.model.lightning import ClassifierModule
from headway.model.training import fit
from headway.params import Params
from headway.ranges import Value
from headway.search.study import Pruned, Report, TrialResult, best, search
from headway.tracking import Tracker


def tune(params: Params, layout: Layout, tracker: Tracker) -> TrialResult:
    """Write ``reports/study``: ``best_params.json`` for the training, ``trials.json``; a plot, and the search's metrics."""
    train = EncodedTexts.open(layout.encoded / "train.arrow")
    validation = EncodedTexts.open(layout.encoded / "validation.arrow")
    sections = {"model": params.model.model_dump(), "training": params.training.model_dump()}
    spec = [params.tune.model_dump(), sections, params.seed, code_fingerprint(layout, "tune")]
    key = sha256_of_json([*spec, *(sha256_of_file(layout.encoded / f"{name}.arrow") for name in ("train", "validation"))])
    part = np.flatnonzero([unit_hash(row_id, "search") < params.tune.train_share for row_id in train.ids])
    if not len(part):
        part = np.arange(len(train))
    few = subset(train, part)
    classes = read_json(layout.prepared / "labels.json", made_by="prepare")
    class_rows = np.bincount(train.labels, minlength=len(classes)).tolist()
    vocabulary_size = tokenizer.load(layout.encoded / "tokenizer.json").get_vocab_size()

    def objective(number: int, point: dict[str, Value], report: Report) -> float:
        knobs = params.override(point)
        data = TextDataModule(few, validation, knobs.model.max_length, knobs.training.tokens_per_batch, params.seed)
        module = ClassifierModule(
            knobs.model, knobs.training, vocabulary_size, class_rows, params.seed, data.steps(params.tune.max_epochs)
        )
        with tracker.nested("trial", f"trial {number}", sha256_of_json([key, number])) as run:
            run.log_params(point)

            def told(entry: dict[str, float]) -> None:
                epoch = int(entry["epoch"])
                run.log_metrics({name: value for name, value in entry.items() if name != "epoch"}, step=epoch)
                report(epoch, entry["validation_accuracy"], epoch == params.tune.max_epochs)

            try:
                fit(module, data, max_epochs=params.tune.max_epochs, title=f"trial {number}", report=told)
            except Pruned:
                pruned = True  # an end like another, not a failed run
            else:
                pruned = False
            run.set_tags({"headway.trial": "pruned" if pruned else "complete"})
        if pruned:
            raise Pruned
        return max(entry["validation_accuracy"] for entry in module.history)

    scratch = layout.scratch / "study"
    for old in scratch.glob("*"):
        if old.name != key[:16]:
            shutil.rmtree(old)
    defaults = {name: sections[name.split(".")[0]][name.split(".")[1]] for name in params.tune.space}
    journal = scratch / key[:16] / "journal.log"
    trials = search(params.tune, defaults, params.seed, journal, objective, _say)
    winner = best(trials)
    with fresh_folder(layout.study) as folder:
        write_json(folder / "best_params.json", winner.point)
        write_json(folder / "trials.json", [trial.as_dict() for trial in trials])
    plots.search_history([trial.score for trial in trials], layout.plot("search_history"))
    write_json(layout.metrics("search"), summary(trials))
    return winner


def summary(trials: list[TrialResult]) -> dict[str, Any]:
    """What the search found, and what it gained over trial 0, the values in params.yaml."""
    winner = best(trials)
    first = trials[0].score if trials[0].state == "complete" else None
    return {
        "trials": len(trials),
        "pruned": sum(trial.state == "pruned" for trial in trials),
        "failed": sum(trial.state == "failed" for trial in trials),
        "best_trial": winner.number,
        "best_validation_accuracy": round(winner.score or 0.0, 6),
        "gain_over_defaults": None if first is None else round((winner.score or 0.0) - first, 6),
    }


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - progress, for a person
