"""Runs the data stages on your own data in the scratch folder, and writes the knobs that they suggest to params.yaml."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.data.columns import Proposal, propose, require_header, sample_rows
from headway.data.sources.files import first_file
from headway.init.location import locate, model_name, path_for_params
from headway.layout import Layout
from headway.params import DataParams, Params, flatten, load

if TYPE_CHECKING:
    from headway.data.preparation.profile import DataProfile
    from headway.stages.tokenize import TokenMetrics

STEPS, WARM_UP_STEPS = 8, 2  # of training, to measure its speed


@dataclass(frozen=True)
class Survey:
    """What a run would find in your data."""

    changes: dict[str, Any]  # knobs of params.yaml to change, by dotted path, with their new values
    proposal: Proposal  # the columns, and other possible label columns
    profile: DataProfile  # of the data, from the stage prepare
    tokens: TokenMetrics  # metrics of the stage tokenize
    seconds: float  # estimate for search and training on this machine
    page: Path  # the data report


def survey(
    layout: Layout,
    data: str,
    text: str | None = None,
    label: str | None = None,
    test_files: str = "",
    unlabelled_files: str = "",
    report_progress: Callable[[str], None] = print,
) -> Survey:
    """Run the data stages on files in the scratch folder, and time a few steps of training.

    Args:
        data: path of a file or folder, a glob, or a URL; a relative one starts in the working directory.
        text, label: names of the columns; None to detect them.
        test_files, unlabelled_files: paths of the files with the test split or without labels, or globs in the folder.

    Raises:
        HeadwayError: the file cannot be read, has no header, no column looks like texts or labels, or DVC cannot track a URL.
    """
    from headway.stages.ingest import ingest
    from headway.stages.prepare import prepare
    from headway.stages.report import report
    from headway.stages.tokenize import tokenize

    params = load(layout.params)
    location = {"source": "file", **locate(layout, data, test_files, unlabelled_files)}
    unknown = {"text_column": "text", "label_column": "label"}  # any two that differ
    first = first_file(DataParams.model_validate(params.data.model_dump() | location | unknown), layout.root, layout.scratch)
    sample = sample_rows(first, params.data.encoding)
    proposal = propose(sample, first.name, text, label)
    require_header(sample, proposal, first)
    report_progress(f"{first.name}: texts from column {proposal.text}, labels from {proposal.label}")
    changes: dict[str, Any] = {
        **{f"data.{name}": value for name, value in location.items()},
        "data.text_column": proposal.text,
        "data.label_column": proposal.label,
        "registry.model_name": model_name(data, location["files"]),
    }
    proposed = params.override(changes)
    trial = _trial_project(layout)
    try:
        ingest(proposed, trial)
        profile = prepare(proposed, trial)
        tokens = tokenize(proposed, trial)
        (page,) = report(proposed, trial, ["data"])
    finally:
        shutil.rmtree(trial.root / "data", ignore_errors=True)
    seconds = _seconds_to_train(proposed, tokens, len(profile.classes))
    changes["data.path"] = path_for_params(layout.root, location["path"])
    before = flatten(params.model_dump())
    changes = {knob: value for knob, value in changes.items() if value != before[knob]}
    return Survey(changes, proposal, profile, tokens, seconds, page)


def write(layout: Layout, changes: Mapping[str, Any]) -> None:
    """Set knobs in params.yaml; comments and order stay as they are."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    tree = yaml.load(layout.params.read_text(encoding="utf-8"))
    for path, value in changes.items():
        section, name = path.split(".")
        tree[section][name] = value
    partial = layout.params.with_name(layout.params.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        yaml.dump(tree, file)
    load(partial)
    partial.replace(layout.params)


def _trial_project(layout: Layout) -> Layout:
    """An empty project in the scratch folder that shares the downloads."""
    trial = Layout(layout.scratch / "init")
    shutil.rmtree(trial.root, ignore_errors=True)
    trial.scratch.mkdir(parents=True)
    downloads = layout.scratch / "downloads"
    downloads.mkdir(exist_ok=True)
    (trial.scratch / "downloads").symlink_to(downloads)
    return trial


def _seconds_to_train(params: Params, tokens: TokenMetrics, n_classes: int) -> float:
    """Time for search, without pruning, and training: from their numbers of tokens and the speed of a few steps measured now."""
    import torch

    from headway.model.classifier import AttentionClassifier
    from headway.model.training import pin

    pin(params.training.threads)
    vocabulary_size = tokens.vocabulary_size
    length = max(1, min(int(tokens.splits["train"].median_length), params.model.max_length))
    texts = max(1, params.training.tokens_per_batch // length)
    module = AttentionClassifier(params.model, vocabulary_size, n_classes)
    batch = torch.randint(2, vocabulary_size, (texts, length), generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(texts, dtype=torch.int64)
    seen, started = 0, 0.0
    for step in range(STEPS):
        if step == WARM_UP_STEPS:
            started = time.monotonic()
        module.zero_grad()
        torch.nn.functional.cross_entropy(module(batch), labels).backward()
        seen += batch.numel() if step >= WARM_UP_STEPS else 0
    per_epoch = (tokens.splits["train"].tokens + tokens.splits["validation"].tokens) * (time.monotonic() - started) / seen
    search = params.tune.trials * params.tune.train_share * params.tune.max_epochs * per_epoch
    return float(params.training.max_epochs * per_epoch + min(search, 60 * params.tune.timeout_minutes))
