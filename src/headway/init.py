"""``headway init``: look at a file as a run would, say what is there and what a run will cost, and fill in params.yaml."""

from __future__ import annotations

import glob
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from headway.data.columns import Proposal, propose, require_header, sample_rows
from headway.data.sources.files import first_file
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.params import DataParams, Params, flatten, load
from headway.phrases import listed
from headway.reporting.data.remarks import remarks

WILDCARDS = re.compile(r"[*?\[]")
URL_WILDCARDS = re.compile(r"[*\[]")  # what follows a question mark is a query


@dataclass(frozen=True)
class Survey:
    """What a run would find.

    Attributes:
        changes: knobs of params.yaml that have to change, by dotted path, with their new values.
        proposal: the columns, and what else might be the label.
        profile: of the data, as the stage prepare makes it.
        tokens: metrics of the stage tokenize.
        seconds: that search and training take on this machine, about.
        page: the data report.
    """

    changes: dict[str, Any]
    proposal: Proposal
    profile: dict[str, Any]
    tokens: dict[str, Any]
    seconds: float
    page: Path


def survey(
    layout: Layout,
    data: str,
    text: str | None = None,
    label: str | None = None,
    test_files: str = "",
    unlabelled_files: str = "",
    say: Callable[[str], None] = print,
) -> Survey:
    """Run the data stages on a file in the scratch folder, and time a few steps of training.

    Args:
        layout: the project.
        data: path of a file or folder, a glob, or a URL; a relative one starts in the working directory.
        text, label: columns, where the file's owner names them.
        test_files, unlabelled_files: paths of files that are a test split or have no labels, or globs in the folder.
        say: told what is being read, before it is.

    Raises:
        HeadwayError: the file cannot be read, has no header, or no column looks like texts or labels; or DVC cannot tell
            when what a URL names has changed.
    """
    from headway.stages.ingest import ingest
    from headway.stages.prepare import prepare
    from headway.stages.report import report
    from headway.stages.tokenize import tokenize

    params = load(layout.params)
    place = {"source": "file", **_place(layout, data, test_files, unlabelled_files)}
    probe = DataParams.model_validate({**params.data.model_dump(), **place, "text_column": "text", "label_column": "label"})
    first = first_file(probe, layout.root, layout.scratch)
    found = sample_rows(first, params.data.encoding)
    proposal = propose(found, first.name, text, label)
    require_header(found, proposal, first)
    say(f"{first.name}: texts from column {proposal.text}, labels from {proposal.label}")
    changes: dict[str, Any] = {
        **{f"data.{name}": value for name, value in place.items()},
        "data.text_column": proposal.text,
        "data.label_column": proposal.label,
        "registry.model_name": _slug(data, place["files"]),
    }
    chosen = params.override(changes)
    trial = _trial(layout)
    try:
        ingest(chosen, trial)
        profile = prepare(chosen, trial)
        tokens = tokenize(chosen, trial)
        (page,) = report(chosen, trial, ["data"])
    finally:
        shutil.rmtree(trial.root / "data", ignore_errors=True)
    seconds = _seconds_to_train(chosen, tokens, len(profile["classes"]))
    changes["data.path"] = _from(layout.root, place["path"])
    before = flatten(params.model_dump())
    changes = {knob: value for knob, value in changes.items() if value != before[knob]}
    return Survey(changes, proposal, profile, tokens, seconds, page)


def write(layout: Layout, changes: Mapping[str, Any]) -> None:
    """Set knobs in params.yaml, its comments and its order kept."""
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


def show(found: Survey) -> None:
    """Print what was found, for a person to agree with."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    profile, tokens = found.profile, found.tokens
    lengths, equal, leakage = profile["characters"], profile["duplicates"], profile["leakage"]
    unknown = tokens["validation"]["unknown_share"]
    lost = [f"{reason} {count:,}" for reason, count in profile["rows_quarantined"].items() if count]
    others = f" (or: {', '.join(found.proposal.others[:5])}; choose with --label)" if found.proposal.others else ""
    rare = f"; {len(profile['rare_classes']):,} with too few rows to be tested" if profile["rare_classes"] else ""
    facts = {
        "text column": found.proposal.text,
        "label column": found.proposal.label + others,
        "rows": f"{profile['rows_in']:,}, of which {profile['rows_kept']:,} can be used",
        "in quarantine": ", ".join(lost) or "none",
        "read as": _largest_first(profile["files"]),
        "classes": f"{len(profile['classes']):,}: {_largest(profile['classes'])}{rare}",
        "characters": f"{lengths['median']:,} in the median text, from {lengths['min']:,} to {lengths['max']:,}",
        "scripts": ", ".join(f"{name} {share:.1%}" for name, share in list(profile["scripts"].items())[:5]),
        "repeats": f"{equal['exact']:,} equal texts, {equal['near_rows']:,} in {equal['near_groups']:,} near groups",
        "leakage": f"{leakage['before']:.2%} of test rows have a twin in training at random, {leakage['after']:.2%} here",
        "splits": ", ".join(f"{name} {count:,}" for name, count in profile["splits"].items()),
        "tokenizer": f"{tokens['kind']}, {tokens['vocabulary_size']:,} tokens; {unknown:.1%} unknown",
        "budget": f"about {_duration(found.seconds)} for search and training on this machine",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        table.add_row(f"[bold]{name}[/]", Text(value))
    console = Console(highlight=False)
    console.print(table)
    for remark in remarks(profile):
        if remark.warning:
            console.print(Text(f"! {remark.words.striptags()}"), soft_wrap=True)
    console.print(f"More, with plots: {os.path.relpath(found.page)}", soft_wrap=True)


def _largest(classes: list[dict[str, Any]], most: int = 8) -> str:
    sizes = {entry["label"]: entry["train"] + entry["validation"] + entry["test"] for entry in classes}
    shown = sorted(sizes, key=lambda label: -sizes[label])
    return listed([f"{label} {sizes[label]:,}" for label in shown], most)


def _largest_first(files: list[dict[str, Any]], most: int = 3) -> str:
    """How the files were read: the encodings and the delimiters, those of the most rows first."""
    rows: dict[str, int] = {}
    for file in files:
        delimiter = {"": "", "\t": ", tabs between cells"}.get(file["delimiter"], f", {file['delimiter']} between cells")
        way = (file["encoding"] or "Parquet") + " (guessed)" * file["encoding_guessed"] + delimiter
        rows[way] = rows.get(way, 0) + file["rows"]
    return listed(sorted(rows, key=lambda way: -rows[way]), most, "; ")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def _trial(layout: Layout) -> Layout:
    """An empty project in the scratch folder, with the same downloads."""
    trial = Layout(layout.scratch / "init")
    shutil.rmtree(trial.root, ignore_errors=True)
    trial.scratch.mkdir(parents=True)
    downloads = layout.scratch / "downloads"
    downloads.mkdir(exist_ok=True)
    (trial.scratch / "downloads").symlink_to(downloads)
    return trial


def _place(layout: Layout, data: str, test: str, unlabelled: str) -> dict[str, str]:
    """The knobs that say where the files lie: a folder or file, and patterns of names in it.

    Raises:
        HeadwayError: the files lie apart, or beside what the pipeline writes; or a URL's kind is none of DVC's.
    """
    path, files = _path_and_pattern(data)
    roles = {"test_files": test, "unlabelled_files": unlabelled}
    if "://" in path:
        _require_scheme(path)
        return {"path": path, "files": files, **roles}
    if not any(roles.values()):
        return {"path": path, "files": files} | roles
    single = Path(path).is_file()
    folder = Path(path).parent if single else Path(path)
    given = {role: Path(name).expanduser().absolute() for role, name in roles.items() if name}
    # A name of a file in the folder is one also where the working directory has its like.
    in_folder = {role for role in given if not Path(roles[role]).is_absolute() and (folder / roles[role]).is_file()}
    alone = {role: file for role, file in given.items() if file.is_file() and role not in in_folder}
    base = Path(os.path.commonpath([folder, *(file.parent for file in alone.values())]))
    if layout.raw.is_relative_to(base):
        raise HeadwayError(
            f"--data: {base} holds your files and what the pipeline writes, so that a change of them would go unseen; "
            "put them into a folder of their own, such as data/input, and name them there"
        )

    def pattern(file: Path) -> str:
        return glob.escape(file.relative_to(base).as_posix())

    inside = "" if folder == base else pattern(folder) + "/"
    patterns = {role: pattern(alone[role]) if role in alone else name and inside + name for role, name in roles.items()}
    return {"path": str(base), "files": pattern(Path(path)) if single else inside + files, **patterns}


def _path_and_pattern(given: str) -> tuple[str, str]:
    """A path, absolute unless it is a URL, and the pattern of files in it; ``file://`` is a path, too."""
    if given.startswith("file://"):
        given = unquote(urlsplit(given).path)
    if "://" in given:
        folder, _, tail = given.rpartition("/")
        return (folder, tail) if URL_WILDCARDS.search(tail) else (given, "*")
    parts = Path(given).expanduser().absolute().parts
    fixed = next((index for index, part in enumerate(parts) if WILDCARDS.search(part)), len(parts))
    return str(Path(*parts[:fixed])), "/".join(parts[fixed:]) or "*"


def _require_scheme(url: str) -> None:
    """Return when DVC can tell whether what a URL names has changed: the stage ingest depends on that."""
    from dvc.fs import registry

    scheme = url.partition("://")[0]
    known = sorted(set(registry) - {"local", "memory"})
    if scheme not in known:
        raise HeadwayError(
            f"--data: {url}: DVC cannot tell when a {scheme}:// file changes; download it and give its path, or a URL that "
            f"begins with one of {', '.join(known)}"
        )
    try:
        registry[scheme]
    except ImportError as error:
        package = re.search(r"dvc-\w+", str(error))
        extra = f"`pip install {package[0]}`" if package else "the extra of DVC"
        raise HeadwayError(f"--data: {url}: {scheme}:// needs one more package: {extra}, and run again") from None


def _from(root: Path, path: str) -> str:
    """A path as params.yaml should have it: from the project's folder when it lies there."""
    return Path(path).relative_to(root).as_posix() if "://" not in path and Path(path).is_relative_to(root) else path


def _slug(data: str, files: str) -> str:
    """A name for the model, from its data's."""
    name = Path(_path_and_pattern(data)[0]).name.split(".")[0] or files
    return re.sub(r"[^\w-]+", "-", name).strip("-_") or "model"


def _seconds_to_train(params: Params, tokens: Mapping[str, Any], n_classes: int) -> float:
    """How long search and training take without pruning, from their tokens and the time of a few steps measured now."""
    import torch

    from headway.model.classifier import AttentionClassifier
    from headway.model.training import pin

    pin(params.training.threads)
    vocabulary_size = tokens["vocabulary_size"]
    length = max(1, min(int(tokens["train"]["median_length"]), params.model.max_length))
    texts = max(1, params.training.tokens_per_batch // length)
    module = AttentionClassifier(params.model, vocabulary_size, n_classes)
    batch = torch.randint(2, vocabulary_size, (texts, length), generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(texts, dtype=torch.int64)
    seen, started = 0, 0.0
    for step in range(8):
        if step == 2:  # the first ones warm up
            started = time.monotonic()
        module.zero_grad()
        torch.nn.functional.cross_entropy(module(batch), labels).backward()
        seen += batch.numel() if step >= 2 else 0
    per_epoch = (tokens["train"]["tokens"] + tokens["validation"]["tokens"]) * (time.monotonic() - started) / seen
    search = params.tune.trials * params.tune.train_share * params.tune.max_epochs * per_epoch
    return float(params.training.max_epochs * per_epoch + min(search, 60 * params.tune.timeout_minutes))
