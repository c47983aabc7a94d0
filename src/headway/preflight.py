"""Checks before anything starts: what would stop a run after minutes, or be missed in its lineage, is one line at once."""

from __future__ import annotations

import errno
import re
import shutil
import tempfile

from headway import params as parameters
from headway import yaml_files
from headway.errors import NO_PEFT, NO_TRANSFORMERS, HeadwayError
from headway.evaluation import slices
from headway.git import GitError, GitMissing, git
from headway.layout import Layout
from headway.params import Params

#: Free space on the disk below which nothing starts, in bytes. A run on 25,000 reviews writes about 400 MB.
MIN_FREE = 200 * 10**6


def check(layout: Layout) -> Params:
    """Check all of a project that can be checked in a moment; returns its params.

    Raises:
        HeadwayError: the first mistake found.
    """
    check_writable(layout)
    check_space(layout)
    params = parameters.load(layout.params)
    check_params(params)
    check_encoder(params, layout)
    for path in (layout.graph, layout.lock):
        if path.exists():
            yaml_files.load_mapping(path)
    check_dvc(layout)
    check_git(layout)
    if params.data.source == "file" and "://" in params.data.path:
        from headway.data.sources.remote import require_available

        require_available(params.data.path)
    return params


def check_params(params: Params) -> None:
    """Check what params.yaml asks of the stages.

    Raises:
        HeadwayError: as for :func:`headway.evaluation.slices.check` and :class:`headway.data.preparation.label_map.LabelMap`.
    """
    if params.data.label_map:
        from headway.data.preparation.label_map import LabelMap

        LabelMap(params.data.label_map)
    slices.check(params)


def check_encoder(params: Params, layout: Layout) -> None:
    """Check that the pretrained encoder can be used, if a run may need one.

    Raises:
        HeadwayError: a library that the encoder needs is not installed, the encoder is missing, damaged or another one than
            expected, or texts are longer than it reads.
    """
    if "pretrained" not in params.encoders:
        return
    from importlib.util import find_spec

    from headway import encoders

    files = encoders.read(layout.encoders, params.pretrained.path, params.pretrained.revision)
    if not files.is_static and find_spec("transformers") is None:
        raise HeadwayError(NO_TRANSFORMERS)
    if params.pretrained.mode == "lora":
        if files.is_static:
            raise HeadwayError(
                f"pretrained.mode: {params.pretrained.path} is a static encoder, which has no layers for adapters; set it to "
                "frozen or fine_tune"
            )
        if find_spec("peft") is None:
            raise HeadwayError(NO_PEFT)
    limit = encoders.longest_text(files.config)
    if limit is not None and params.pretrained.max_length > limit:
        raise HeadwayError(
            f"pretrained.max_length: {params.pretrained.max_length:,} sub-words, but {params.pretrained.path} reads {limit:,} at "
            f"most; lower it to {limit} or less"
        )


def check_writable(layout: Layout) -> None:
    """Check that files can be written in every folder of the project that a run writes to.

    Raises:
        HeadwayError: a folder is not writable. A full disk is no reason, because commands that free space write too.
    """
    root = layout.root
    outputs = (layout.scratch, layout.tracking, layout.raw.parent, layout.evaluation.parent, layout.reports, layout.plots)
    others = (layout.candidate.parent, layout.metrics("").parent, root / ".dvc", root / ".dvc" / "tmp")
    for folder in (root, *outputs, *others):
        if folder.is_dir():
            try:
                with tempfile.TemporaryFile(dir=folder) as probe:
                    probe.write(b"x" * 4096)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    continue
                remedy = "check who owns the folder and how its disk is mounted"
                raise HeadwayError(f"{folder}: cannot be written to: {error.strerror}; {remedy}") from None


def check_space(layout: Layout) -> None:
    """Check that the disk has room for a run.

    Raises:
        HeadwayError: it has not.
    """
    root = layout.root
    if (free := shutil.disk_usage(root).free) < MIN_FREE:
        raise HeadwayError(
            f"{root}: {free / 1e6:,.0f} MB free on its disk, expected at least {MIN_FREE / 1e6:,.0f}; free some space, for "
            "example with `headway gc --delete`"
        )


def check_dvc(layout: Layout) -> None:
    """HeadwayError if the project has no folder ``.dvc``."""
    if not (layout.root / ".dvc").is_dir():
        raise HeadwayError(
            f"{layout.root}: not a DVC project: the folder .dvc is missing; restore it with `git checkout .dvc`"
        )


def check_git(layout: Layout) -> None:
    """Check that git reads the project's repository, which DVC and the lineage of results need.

    Raises:
        HeadwayError: git is missing, there is no repository, or it belongs to another user. The first two are accepted if DVC
            is configured to work without git.
    """
    root = layout.root
    try:
        git(root, "rev-parse", "--git-dir")
    except GitError as error:
        if works_without_git(layout):
            return
        without = "or, to work without git and without commits in the lineage, `dvc config --local core.no_scm true`"
        if isinstance(error, GitMissing):
            raise HeadwayError(f"git is not installed, which the lineage of results needs; install it, {without}") from None
        start = '`git init && git add --all && git commit --message "Start"`'
        raise HeadwayError(f"{root}: no git repository ({error}); run {start}, {without}") from None


def works_without_git(layout: Layout) -> bool:
    """Whether DVC's configuration of the project says so; DVC then knows no commits, even if there are some."""
    folder = layout.root / ".dvc"
    texts = [path.read_text(errors="replace") for name in ("config", "config.local") if (path := folder / name).is_file()]
    return any(re.search(r"^\s*no_scm\s*=\s*true\s*$", text, re.MULTILINE | re.IGNORECASE) for text in texts)
