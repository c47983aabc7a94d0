"""The Hugging Face Hub: splits of a data set at a pinned revision. The only source for which the network is on."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.data.sources.remote import tried_again
from headway.data.sources.source import Columns, Facts, Part, Row, Source, row_of
from headway.errors import HeadwayError
from headway.params import DataParams

if TYPE_CHECKING:
    from datasets import Dataset

ROWS = 256  # at a time


def open_hub(params: DataParams, root: Path) -> Source:
    """The splits that params name; a folder in the Hub's layout will do, too, when its path begins with a dot or a slash.

    Raises:
        HeadwayError: no such data set, revision or split, or no network; or a folder would be read in the Hub's place.
    """
    more = tuple(params.slice_columns)
    both, text = Columns(params.text_column, params.label_column, more), Columns(params.text_column, None)

    def parts(split: str, columns: Columns, test: bool = False) -> list[Part]:
        if not split:
            return []
        where = f"hub {params.hub_name}, split {split}"
        return [HubPart(_loaded(params, split, root, where), Facts(split), columns, where, test)]

    return Source(
        name=f"hub {params.hub_name}",
        version=params.hub_revision,
        labelled=[*parts(params.hub_test_split, both, test=True), *parts(params.hub_split, both)],
        unlabelled=parts(params.hub_unlabelled_split, text),
        slice_columns=more,
    )


class HubPart(Part):
    """One split; ids of classes become their names."""

    def __init__(self, rows: Dataset, facts: Facts, columns: Columns, where: str, test: bool):
        super().__init__(facts, test)
        facts.columns = rows.column_names
        columns.require(rows.column_names, where)
        self.columns = columns
        self.wanted = rows.select_columns(columns.wanted)

    def rows(self) -> Iterator[Row]:
        feature = self.wanted.features.get(self.columns.label)
        names = getattr(feature, "names", None)  # of a ClassLabel
        for batch in self.wanted.iter(batch_size=ROWS):
            texts = batch[self.columns.text]
            labels = [None] * len(texts) if self.columns.label is None else batch[self.columns.label]
            more = zip(*(batch[name] for name in self.columns.more), strict=True) if self.columns.more else repeat(())
            for text, label, cells in zip(texts, labels, more, strict=False):
                yield row_of(text, label if names is None else _name_of(label, names), cells)


def _name_of(label: int | None, names: list[str]) -> str | None:
    """The name of a class; -1 stands for none."""
    return None if label is None or label < 0 else names[label]


def _loaded(params: DataParams, split: str, root: Path, where: str) -> Dataset:
    """A split, memory-mapped from the Hub client's own cache, into which it is downloaded once."""
    import datasets
    import huggingface_hub

    datasets.disable_progress_bars()
    for library in (datasets, huggingface_hub):
        library.logging.set_verbosity(logging.CRITICAL)  # what fails is raised, and told below
    name = _unmistakable(params.hub_name, root)
    try:
        with online():
            return tried_again(lambda: datasets.load_dataset(name, revision=params.hub_revision, split=split), _may_pass)
    except Exception as error:  # the Hub's client, its cache and each format raise their own
        reason = " ".join(str(error).split())[:250].rstrip(".") or type(error).__name__
        raise HeadwayError(f"{where}: {reason}; {_advice(error)}") from error


def _unmistakable(name: str, root: Path) -> str:
    """A name on the Hub, or the path of a folder that is given as one; ``datasets`` itself would take one for the other.

    Raises:
        HeadwayError: a folder is there that has the name of a data set on the Hub.
    """
    if name.startswith((".", "/")):
        return str(root / name)
    if (root / name).exists() or Path(name).exists():
        raise HeadwayError(
            f"data.hub_name: a folder {name} lies here, and would be read in place of the Hub's; rename it, or write ./{name} "
            "if you mean it"
        )
    return name


def _may_pass(error: BaseException) -> bool:
    """Whether trying again can help: after a network's or a server's failure, not after a clear no."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return bool(status >= 500 or status in (408, 429))
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and _may_pass(cause)


def _advice(error: Exception) -> str:
    import datasets

    if isinstance(error, datasets.exceptions.DatasetNotFoundError):
        return "check data.hub_name and data.hub_revision, or log in with `hf auth login` if it is private"
    if isinstance(error, ConnectionError | TimeoutError):
        return "check the network, and run again"
    return "check data.hub_split and its neighbours in params.yaml"


@contextmanager
def online() -> Iterator[None]:
    """The Hub's client may use the network within the block; Headway switches it off at its start, for all else."""
    import datasets
    import huggingface_hub

    flags: list[tuple[Any, str]] = [(huggingface_hub.constants, "HF_HUB_OFFLINE"), (datasets.config, "HF_HUB_OFFLINE")]
    before = [getattr(module, name) for module, name in flags]
    variable = os.environ.pop("HF_HUB_OFFLINE", None)
    for module, name in flags:
        setattr(module, name, False)
    try:
        yield
    finally:
        for (module, name), value in zip(flags, before, strict=True):
            setattr(module, name, value)
        if variable is not None:
            os.environ["HF_HUB_OFFLINE"] = variable
