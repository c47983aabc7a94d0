"""The hidden folder beside the output where a job keeps its finished parts, so that a job that was killed goes on after them.

manifest.json   what the job is: model, inputs, options; once the output is joined, its SHA-256 and the counts
000000.part     rows of the output, without a header
000000.json     written last, by rename: rows, reasons and SHA-256 of that part; a part without it does not count
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from headway.chosen_file import require_writable
from headway.errors import HeadwayError
from headway.files import sha256_of_file, write_json

SUFFIX = ".parts"
FORMAT = 1
#: What the parts of one output must agree in, with the words for a message.
SAME = {"model": "another model", "inputs": "other input", "options": "other options"}


def folder_of(out: Path) -> Path:
    """The folder with the parts of an output: hidden, so that no folder or glob takes them for files to label."""
    return out.with_name(f".{out.name}{SUFFIX}")


def require_output(out: Path, inputs: Sequence[Path]) -> None:
    """Check that a file may be written in parts.

    Args:
        inputs: the files to label.

    Raises:
        HeadwayError: see :func:`headway.chosen_file.require_writable`; it is one of the inputs, or its parts' folder is a link.
    """
    require_writable(out, "predictions", force=True)
    if out.exists() and any(out.samefile(path) for path in inputs):
        raise HeadwayError(f"--out: {out}: is one of the files to label; name another file")
    if folder_of(out).is_symlink():
        raise HeadwayError(f"{folder_of(out)}: is a symbolic link; remove it, or name another file with --out")


@dataclass
class Counts:
    """Rows by what became of them."""

    labelled: int = 0
    unlabelled: Counter[str] = field(default_factory=Counter)  # by reason

    @property
    def rows(self) -> int:
        return self.labelled + self.unlabelled.total()

    @classmethod
    def of(cls, reasons: list[str]) -> Counts:
        """Counts of rows by their reason, "" for a labelled one."""
        found = Counter(reasons)
        return cls(found.pop("", 0), found)

    def add(self, other: Counts) -> None:
        self.labelled += other.labelled
        self.unlabelled += other.unlabelled


class Parts:
    """The parts of one job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, index: int) -> Path:
        return self.folder / f"{index:06}.part"

    def write(self, index: int, counts: Counts, write: Callable[[Path], None]) -> None:
        """Have a part written, then record it."""
        path = self.path(index)
        write(path)
        _flush(path)
        record = {"labelled": counts.labelled, "unlabelled": counts.unlabelled, "sha256": sha256_of_file(path)}
        write_json(path.with_suffix(".json"), record)

    def finished(self, index: int) -> Counts | None:
        """The counts of a part; None if it is missing, incomplete or damaged."""
        path = self.path(index)
        try:
            record = json.loads(path.with_suffix(".json").read_text("utf-8"))
            intact = record["sha256"] == sha256_of_file(path)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return Counts(record["labelled"], Counter(record["unlabelled"])) if intact else None


@dataclass(frozen=True)
class Output:
    """The file that a job writes, and what the job is."""

    path: Path
    job: dict[str, Any]  # with the keys of ``SAME``

    @property
    def folder(self) -> Path:
        return folder_of(self.path)

    @property
    def _manifest(self) -> Path:
        return self.folder / "manifest.json"

    @contextmanager
    def opened(self, restart: bool) -> Iterator[Parts | Counts]:
        """The job's parts, for this process alone; or its counts, if it was killed after its output was complete.

        Args:
            restart: drop the parts that there are, and replace the output if it exists.

        Raises:
            HeadwayError: the output exists and is not this job's, its parts are another job's, or another process writes them.
        """
        if not self.folder.exists():
            self._require_new(restart)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HeadwayError(f"{self.folder}: cannot be made: {error.strerror}; name another file with --out") from None
        lock = filelock.FileLock(self.folder / "lock")
        try:
            with lock.acquire(timeout=0):
                yield self._begin(restart)
        except filelock.Timeout:
            raise HeadwayError(
                f"{self.path}: another process is writing it; wait for it, or name another file with --out"
            ) from None

    def _begin(self, restart: bool) -> Parts | Counts:
        manifest = self._read()
        if manifest and not restart:
            for key, what in SAME.items():
                if manifest[key] != self.job[key]:
                    was = f" ({manifest[key]['version']}, now {self.job[key]['version']})" if key == "model" else ""
                    raise HeadwayError(
                        f"{self.folder}: holds parts of {what}{was}; pass --restart to drop them, or name another file with --out"
                    )
            if "joined" in manifest and self.path.is_file() and sha256_of_file(self.path) == manifest["joined"]:
                return Counts(manifest["labelled"], Counter(manifest["unlabelled"]))
            if not manifest["replaces"]:
                self._require_new(False)
            return Parts(self.folder)
        self._require_new(restart)
        self._clear()
        write_json(self._manifest, {"format": FORMAT, **self.job, "replaces": self.path.exists()})
        return Parts(self.folder)

    def finish(self, counts: Counts, join: Callable[[Path], None]) -> None:
        """Have the output joined, and put it in its place in one step."""
        whole = self.folder / "joined"
        join(whole)
        _flush(whole)
        found = {"joined": sha256_of_file(whole), "labelled": counts.labelled, "unlabelled": counts.unlabelled}
        write_json(self._manifest, {**json.loads(self._manifest.read_text("utf-8")), **found})
        os.replace(whole, self.path)

    def remove_parts(self) -> None:
        """Remove the folder; the manifest, which says that the output is complete, goes last."""
        self._clear()
        shutil.rmtree(self.folder)

    def _clear(self) -> None:
        for file in self.folder.iterdir():
            if file.suffix in (".part", ".json", ".partial") and file != self._manifest:
                file.unlink()

    def _read(self) -> dict[str, Any] | None:
        try:
            manifest = json.loads(self._manifest.read_text("utf-8"))
        except FileNotFoundError:
            if any(file.name != "lock" and file.suffix != ".partial" for file in self.folder.iterdir()):
                raise self._foreign() from None
            return None
        except ValueError:
            raise self._foreign() from None
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or not {*SAME, "replaces"} <= manifest.keys():
            raise self._foreign()
        return manifest

    def _foreign(self) -> HeadwayError:
        return HeadwayError(
            f"{self.folder}: was not made by this version of `headway predict`, which needs a folder of that name; move it, or "
            "name another file with --out"
        )

    def _require_new(self, restart: bool) -> None:
        if self.path.exists() and not restart:
            raise HeadwayError(f"{self.path}: exists; pass --restart to replace it, or name another file with --out")


def _flush(path: Path) -> None:
    """Have the disk write a file, so that its record is never there without it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
