"""Stage train: the classifier on all training rows, with what the search found, packed to be served."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np

from headway.data import tokenizer
from headway.data.datamodule import TextDataModule
from headway.data.encoded import EncodedTexts
from headway.evaluation import plots
from headway.files import fresh_folder, read_json, sha256_of_file, sha256_of_json, write_json
from headway.layout import Layout
from headway.lineage import code_fingerprint
from headway.model.lightning import ClassifierModule
from headway.model.training import fit
from headway.params import Params
from headway.serving import package
from headway.tracking import RunningRun, Tracker


def train(params: Params, layout: Layout, tracker: Tracker) -> dict[str, Any]:
    """Write ``models/candidate``, the model package; ``reports/training/history.json``; a plot, and validation metrics.

    Checkpoints lie in the scratch folder under a key of all that goes in: a training that was interrupted continues from
    its last whole epoch, and one with other inputs starts afresh.
    """
    found = read_json(layout.study / "best_params.json", made_by="tune")
    knobs = params.override(found)
    classes = read_json(layout.prepared / "labels.json", made_by="prepare")
    tokenizer_file = layout.encoded / "tokenizer.json"
    vocabulary_size = tokenizer.load(tokenizer_file).get_vocab_size()
    splits = {name: EncodedTexts.open(layout.encoded / f"{name}.arrow") for name in ("train", "validation")}
    class_rows = np.bincount(splits["train"].labels, minlength=len(classes)).tolist()
    data = TextDataModule(splits["train"], splits["validation"], knobs.training.tokens_per_batch, params.seed)
    module = ClassifierModule(
        knobs.model, knobs.training, vocabulary_size, class_rows, params.seed, data.steps(knobs.training.max_epochs)
    )
    inputs = [code_fingerprint(layout, "train")]
    inputs += [sha256_of_file(layout.encoded / f"{name}.arrow") for name in splits] + [sha256_of_file(tokenizer_file)]
    key = sha256_of_json([knobs.model.model_dump(), knobs.training.model_dump(), params.seed, inputs])
    checkpoints = layout.scratch / "checkpoints"
    for old in checkpoints.glob("*"):
        if old.name != key[:16]:
            shutil.rmtree(old)
    with tracker.nested("training", "train", key) as run:
        fit(
            module,
            data,
            max_epochs=knobs.training.max_epochs,
            title="train",
            report=lambda entry: _log_epoch(run, entry),
            checkpoints=checkpoints / key[:16],
        )
        with fresh_folder(layout.candidate) as folder:
            package.save(folder, module.classifier, tokenizer_file, params.tokenizer.max_length, vocabulary_size, classes)
        plots.learning_curve(module.history, layout.plot("learning_curve"))
        write_json(layout.training / "history.json", module.history)
        best = max(module.history, key=lambda entry: entry["validation_accuracy"])
        report = {name: value if name == "epoch" else round(value, 6) for name, value in best.items()}
        write_json(layout.metrics("training"), report)
        _log_result(run, knobs, layout)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return report


def training_run(params: Params, layout: Layout, tracker: Tracker) -> str:
    """Id of the MLflow run that made the candidate; a run that MLflow has no more is logged again from the stage's files."""
    found = tracker.find(kind="training", model=package.fingerprint(layout.candidate))
    if found:
        return str(found.info.run_id)
    knobs = params.override(read_json(layout.study / "best_params.json", made_by="tune"))
    with tracker.nested("training", "train (logged again)", package.fingerprint(layout.candidate)) as run:
        for entry in read_json(layout.training / "history.json", made_by="train"):
            _log_epoch(run, entry)
        _log_result(run, knobs, layout)
    return run.id


def _log_epoch(run: RunningRun, entry: dict[str, float]) -> None:
    run.log_metrics({name: value for name, value in entry.items() if name != "epoch"}, step=int(entry["epoch"]))


def _log_result(run: RunningRun, knobs: Params, layout: Layout) -> None:
    for section in ("model", "training"):
        run.log_params({f"{section}.{name}": value for name, value in getattr(knobs, section).model_dump().items()})
    run.log_dataset(read_json(layout.raw / "manifest.json", made_by="ingest"))
    run.log_artifacts([layout.plot("learning_curve")], "plots")
    run.set_tags({"headway.model": package.fingerprint(layout.candidate)})
