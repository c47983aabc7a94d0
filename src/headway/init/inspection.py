"""Runs the data stages on your own data in the scratch folder, and writes the knobs that they suggest to params.yaml."""

from __future__ import annotations

import io
import math
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.data.columns import Proposal
from headway.data.preparation.label_map import LabelMap
from headway.data.preparation.look_alikes import propose_map
from headway.data.preparation.scores import score_in
from headway.errors import HeadwayError
from headway.init.location import locate, model_name, path_for_params
from headway.init.reading import Reading, choose_reading
from headway.layout import Layout
from headway.model.schedule import resolve, resolve_trial, trial_share
from headway.params import Params, flatten, load
from headway.preflight import check_writable

if TYPE_CHECKING:
    import numpy as np

    from headway.data.preparation.profile import DataProfile
    from headway.stages.tokenize import SplitTokens, TokenMetrics

STEPS, WARM_UP_STEPS = 8, 2  # of training, to measure its speed


@dataclass(frozen=True)
class Survey:
    """What a run would find in your data."""

    changes: dict[str, Any]  # knobs of params.yaml to change, by dotted path, with their new values
    reading: Reading  # how the files are read, and their columns
    profile: DataProfile  # of the data, from the stage prepare
    tokens: TokenMetrics  # metrics of the stage tokenize
    seconds: float  # estimate for search and training on this machine
    page: Path  # the data report
    merges_labels: bool  # whether the proposed label map merges labels that look alike

    @property
    def proposal(self) -> Proposal:
        """The columns, and other possible ones."""
        return self.reading.proposal


def survey(
    layout: Layout,
    data: str,
    text: str | None = None,
    label: str | None = None,
    test_files: str = "",
    unlabelled_files: str = "",
    header: bool | None = None,
    columns: Sequence[str] = (),
    require_clear: bool = False,
    report_progress: Callable[[str], None] = print,
) -> Survey:
    """Run the data stages on files in the scratch folder, and time a few steps of training.

    Args:
        data: path of a file or folder, a glob, or a URL; a relative one starts in the working directory.
        text, label: names of the columns; None to detect them.
        header: whether the first row of a CSV names its columns; None to detect that.
        columns: names of a CSV's columns in place of the header's.
        require_clear: refuse to choose between columns that are about as likely to be the label.
        test_files, unlabelled_files: paths of the files with the test split or without labels, or globs in the folder.

    Raises:
        HeadwayError: the project is not writable, the file cannot be read, has no header, no column looks like texts or labels,
            the labels are a score, or DVC cannot track a URL.
    """
    from headway.stages.ingest import ingest
    from headway.stages.prepare import prepare
    from headway.stages.report import report
    from headway.stages.tokenize import tokenize

    check_writable(layout)
    params = load(layout.params)
    location = locate(layout, data, test_files, unlabelled_files)
    reading = choose_reading(params, location, layout, text, label, header, columns)
    proposal = reading.proposal
    if require_clear and proposal.unclear:
        raise HeadwayError(f"{reading.where}: {proposal.unclear}")
    report_progress(f"{reading.where}: texts from column {proposal.text}, labels from {proposal.label}")
    changes: dict[str, Any] = {
        **{f"data.{name}": value for name, value in reading.knobs.items()},
        "registry.model_name": model_name(data, location["files"]),
        "registry.project_id": params.registry.project_id or f"p{secrets.token_hex(4)}",
    }
    if params.split.time_column not in {*reading.columns} - {proposal.text, proposal.label}:
        changes |= {"split.time_column": "", "split.train_until": ""}
    proposed = params.override(changes)
    trial = _trial_project(layout)
    try:
        rows = ingest(proposed, trial).label_counts
        classes = LabelMap(params.data.label_map).count(rows)
        if score := score_in({name: count for name, count in classes.items() if name}):
            raise HeadwayError(f"{reading.where}: {score.describe(proposal.label)}")
        changes["data.label_map"], merged = _label_map(params.data.label_map, rows)
        proposed = params.override(changes)
        profile = prepare(proposed, trial)
        tokens = tokenize(proposed, trial)
        (page,) = report(proposed, trial, ["data"])
    finally:
        shutil.rmtree(trial.root / "data", ignore_errors=True)
    seconds = _seconds_to_train(proposed, tokens, len(profile.classes))
    changes["data.path"] = path_for_params(layout.root, location["path"])
    before = flatten(params.model_dump())
    changes = {knob: value for knob, value in changes.items() if value != before[knob]}
    return Survey(changes, reading, profile, tokens, seconds, page, merged)


def _label_map(entries: Mapping[str, str], rows: Mapping[str, int]) -> tuple[dict[str, str], bool]:
    """The present label map without entries for labels that the data lack, with new ones that merge labels which look alike.

    Also whether there are such new ones.
    """
    unused = LabelMap(entries).unused(rows)
    kept = {key: value for key, value in entries.items() if key not in unused}
    label_map = LabelMap(kept)
    merged = propose_map({name: count for name, count in label_map.count(rows).items() if name}, named=label_map)
    return {key: merged.get(value, value) for key, value in kept.items()} | merged, bool(merged)


def write(layout: Layout, changes: Mapping[str, Any]) -> None:
    """Set knobs in params.yaml; comments and order stay as they are."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    tree = yaml.load(layout.params.read_text(encoding="utf-8"))
    for path, value in changes.items():
        section, name = path.split(".")
        tree[section][name] = _in_one_line(value)
    partial = layout.params.with_name(layout.params.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        yaml.dump(tree, file)
    load(partial)
    partial.replace(layout.params)


def as_yaml(changes: Mapping[str, Any]) -> str:
    """Knobs with their new values as lines of YAML, for a person."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 4096
    stream = io.StringIO()
    yaml.dump({path: _in_one_line(value) for path, value in changes.items()}, stream)
    return stream.getvalue()


def _in_one_line(value: Any) -> Any:
    """A value whose lists and mappings are written in one line."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if not isinstance(value, list | dict):
        return value
    node = CommentedSeq(value) if isinstance(value, list) else CommentedMap(value)
    node.fa.set_flow_style()
    return node


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
    vocabulary_size = max(tokens.vocabulary_size, 3)  # a text without frequent words has the two special tokens alone
    length = max(1, min(int(tokens.splits["train"].median_length), params.model.max_length))
    share = trial_share(params.tune.train_share, tokens.splits["train"].rows)
    whole = resolve(params.training, EstimatedTexts.of(tokens, params, n_classes))
    trial = resolve_trial(params, EstimatedTexts.of(tokens, params, n_classes, share))
    texts = max(1, whole.tokens_per_batch // length)
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
    search = params.tune.trials * share * trial.epochs * per_epoch
    return float(whole.epochs * per_epoch + min(search, 60 * params.tune.timeout_minutes))


@dataclass(frozen=True)
class EstimatedTexts:
    """Texts of one length each, for the schedule of a training whose texts are known by their numbers alone."""

    train_lengths: np.ndarray
    validation_lengths: np.ndarray
    n_classes: int

    @classmethod
    def of(cls, tokens: TokenMetrics, params: Params, n_classes: int, share: float = 1.0) -> EstimatedTexts:
        """A share of the training texts, and the validation texts, all of their split's mean length after truncation."""
        import numpy as np

        def lengths(split: SplitTokens, share: float) -> np.ndarray:
            mean = split.tokens / max(1, split.rows)
            return np.full(max(1, round(share * split.rows)), min(max(1.0, mean), params.model.max_length))

        return cls(lengths(tokens.splits["train"], share), lengths(tokens.splits["validation"], 1.0), n_classes)

    def steps(self, tokens_per_batch: int, epochs: int, world_size: int = 1) -> int:
        """Number of steps of each process if every batch is full."""
        return epochs * math.ceil(float(self.train_lengths.sum()) / tokens_per_batch / world_size)
