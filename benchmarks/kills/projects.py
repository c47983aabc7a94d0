"""The small project of the kills, in the states in which the jobs begin: 600 sentences, four trials of a tiny model."""

from __future__ import annotations

import csv
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.kills.comparison import ANSWERS, LABELS_FILE, ROWS
from benchmarks.kills.processes import forked, output_of
from benchmarks.serve.rows import write_rows
from benchmarks.shipped import PROJECT
from flows import local_server
from tests.e2e.conftest import Clone, commit, git, new_clone
from tests.real_texts import english

#: Changes of params.yaml beside those of the end-to-end tests.
TINY = {
    "  max_rows: 3000 ": "  max_rows: 600 ",
    "  train: 0.8 ": "  train: 0.6 ",
    "  validation: 0.1 ": "  validation: 0.15 ",
    "  test: 0.1 ": "  test: 0.25 ",
    "  trials: 2": "  trials: 4",
    "  vocabulary_size: 50000": "  vocabulary_size: 2000",
    '    folder: ""': "    folder: log",
    "    texts: none": "    texts: full",
}
#: What makes another candidate, and lets it pass although it is hardly better.
ANOTHER = {
    "  max_order: 3 ": "  max_order: 1 ",
    "  policy: superior": "  policy: non_inferior",
    "  champion_margin: 0.01": "  champion_margin: 0.5",
    "  macro_f1_margin: 0.02": "  macro_f1_margin: 0.9",
    "  nll_margin: 0.02": "  nll_margin: 9.0",
    "  calibration_margin: 0.02": "  calibration_margin: 0.9",
}
#: Folders of the repository that no job reads.
UNUSED = ("benchmarks", "docker", "docs", "tests")
FRESH, TOKENIZED, TUNED, EVALUATED, RAN, SECOND = "fresh", "tokenized", "tuned", "evaluated", "ran", "second"
BATCH, LABELLING, MONITORING = "batch", "labelling", "monitoring"
#: Rows of the file to label: four parts; and answers whose true labels arrive.
ROWS_TO_LABEL, LABELLED = 14_000, 2_000
DATA_STAGES, MODEL_STAGES = ("ingest", "prepare", "tokenize", "baseline"), ("tune", "train", "evaluate", "report")


@dataclass(frozen=True)
class Place:
    """Where one job at a time runs: always in the same folder, because MLflow's database holds its path."""

    folder: Path

    @property
    def clone(self) -> Clone:
        return Clone(self.folder / "project")

    @property
    def root(self) -> Path:
        return self.clone.root

    def log(self, name: str) -> Path:
        """A file for the output of a command, outside of the project."""
        return self.folder / f"{name}.log"

    def restore(self, template: Path) -> None:
        """Put a copy of a template in the place of whatever is there."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(template, self.root, symlinks=True)
        if (self.root / "mlruns").exists() and template.with_suffix(".at").read_text() != str(self.root):
            forked("settle", folder=self.root, log=self.log("settle")).wait()

    def headway(self, *words: str) -> None:
        """Run a command to its end; exits the benchmark with its output if it fails."""
        log = self.log(words[0])
        if forked("headway", *words, folder=self.root, log=log).wait():
            sys.exit(f"headway {' '.join(words)} failed:\n{log.read_text(errors='replace')[-3000:]}")


@dataclass(frozen=True)
class Templates:
    """The folder of the projects from which jobs begin."""

    folder: Path

    def __getitem__(self, name: str) -> Path:
        return self.folder / name

    def keep(self, name: str, place: Place) -> None:
        """Keep a copy of the project as it is now."""
        shutil.rmtree(self[name], ignore_errors=True)
        shutil.copytree(place.root, self[name], symlinks=True)
        self[name].with_suffix(".at").write_text(str(place.root))

    def make(self, place: Place) -> None:
        """Make all of them but :data:`RAN`, and what begins there."""
        shutil.rmtree(place.folder, ignore_errors=True)
        place.folder.mkdir(parents=True)
        prefect = place.folder / "prefect"
        with local_server.embedded(prefect):
            pass
        clone = new_clone(PROJECT, place.root, prefect)
        clone.edit(*TINY.items())
        git(place.root, "rm", "-r", "--quiet", *UNUSED)
        commit_all(clone, "A small project")
        self.keep(FRESH, place)
        forked("settle", folder=place.root, log=place.log("settle")).wait()
        for stage in DATA_STAGES:
            place.headway(stage)
        self.keep(TOKENIZED, place)
        place.headway("tune")
        self.keep(TUNED, place)
        for stage in MODEL_STAGES[1:]:
            place.headway(stage)
        lock(place)
        self.keep(EVALUATED, place)

    def make_after_run(self, place: Place) -> None:
        """Make those that begin with the project in this place, in which ``headway run`` has promoted version 1."""
        self.keep(RAN, place)
        place.clone.edit(*ANOTHER.items())
        for stage in MODEL_STAGES:
            place.headway(stage)
        lock(place)
        self.keep(SECOND, place)

        place.restore(self[RAN])
        write_rows(place.root / ROWS, sentences(), ROWS_TO_LABEL)
        self.keep(BATCH, place)

        place.restore(self[RAN])
        short, long = sentences()[: LABELLED * 3 // 4], english(LABELLED // 4, "imdb")[0]
        write_rows(place.root / ROWS, [*short, *long], LABELLED)
        place.headway("predict", ROWS, "--out", ANSWERS, "--log")
        write_labels(place.root)
        self.keep(LABELLING, place)
        place.headway("label", LABELS_FILE)
        self.keep(MONITORING, place)


def commit_all(clone: Clone, message: str) -> None:
    git(clone.root, "add", "--all")
    commit(clone.root, message)


def lock(place: Place) -> None:
    """Bring dvc.lock up to date with the files of the stages, which were run without DVC."""
    output_of([sys.executable, "-m", "dvc", "commit", "--force", "--quiet"], place.root)


def sentences() -> Sequence[str]:
    """Real sentences."""
    return english(8_000)[0]  # type: ignore[no-any-return]


def write_labels(root: Path) -> None:
    """True labels of the answers: most are right, and some are missing, given twice, or contradict each other."""
    draw = random.Random(0)
    with (root / ANSWERS).open(encoding="utf-8", newline="") as file:
        answers = list(csv.DictReader(file))
    classes = sorted({row["label"] for row in answers if row["label"]})
    with (root / LABELS_FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["request_id", "true_label"])
        for row in answers:
            label = row["label"] if draw.random() < 0.7 else draw.choice(classes)
            case = draw.random()
            writer.writerow([row["request_id"], "" if case < 0.05 else label])
            if case > 0.9:
                writer.writerow([row["request_id"], label if case > 0.95 else draw.choice(classes)])
