"""The stored project of version 0.1.0, see tests/fixtures/README.md, and its upgrade."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

from headway.layout import Layout

ARCHIVE = Path(__file__).parent / "fixtures" / "project_0.1.0.tar.gz"
#: What the owner of that project changed in params.yaml, in the lines of today's. Line ends and blanks keep names apart.
VALUES = {
    "\n  subset: imdb ": "\n  subset: rotten_tomatoes ",
    "\n  max_rows: 0 ": "\n  max_rows: 700 ",
    "\n  train: 0.8 ": "\n  train: 0.6 ",
    "\n  validation: 0.1 ": "\n  validation: 0.2 ",
    "\n  test: 0.1 ": "\n  test: 0.2 ",
    "\n  vocabulary_size: 50000 ": "\n  vocabulary_size: 1000 ",
    "\n  max_features: 1000000 ": "\n  max_features: 2000 ",
    "\n  d_model: 64 ": "\n  d_model: 8 ",
    "\n  dim_feedforward: 128 ": "\n  dim_feedforward: 8 ",
    "\n  bigram_buckets: auto ": "\n  bigram_buckets: 64 ",
    "\n  max_epochs: auto            # Passes": "\n  max_epochs: 1               # Passes",
    "\n  max_epochs: auto            # Epochs": "\n  max_epochs: 1               # Epochs",
    "\n  threads: 2 ": "\n  threads: 1 ",
    "\n  trials: 8 ": "\n  trials: 2 ",
    "\n  baseline_margin: 0.03 ": "\n  baseline_margin: 0.3 ",
    "\n  bootstrap_samples: 10000 ": "\n  bootstrap_samples: 1000 ",
    "\n  bootstrap_samples: 2000 ": "\n  bootstrap_samples: 200 ",
    '\n  intended_use: "" ': '\n  intended_use: "Tests of an upgrade." ',
}


def unpack(root: Path) -> Layout:
    """Unpack it into a folder: what runs and decisions of 0.1.0 left, with its params.yaml and dvc.lock."""
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(root, filter="data")
    return Layout(root)


def upgrade(repository: Path, root: Path, **values: str) -> Layout:
    """Unpack it, and merge this version as docs/howto/upgrade.md says: today's files, with the owner's values in params.yaml.

    Args:
        values: further texts of params.yaml to replace, and what takes their place.
    """
    layout = unpack(root)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        if name.startswith(("tests/", "docs/", "benchmarks/")) or name == "dvc.lock" or not (repository / name).is_file():
            continue
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repository / name, root / name)
    text = layout.params.read_text(encoding="utf-8")
    for before, after in {**VALUES, **values}.items():
        assert before in text, f"{before!r} is not in params.yaml"
        text = text.replace(before, after, 1)
    layout.params.write_text(text, encoding="utf-8")
    identity = ["-c", "user.name=Owner", "-c", "user.email=owner@example.org"]
    for words in (["init", "-q"], ["add", "--all"], [*identity, "commit", "-q", "--message", "Merge version 0.2.0"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    return layout
