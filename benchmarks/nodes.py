"""What several Ray nodes cost compared with one node of as many threads: a search and labelling of files.

The nodes are processes of this machine, so they share its cores. Three nodes of one CPU each are compared with one node of three
CPUs, which runs as many tasks at the same time on the same cores: whatever is slower is the price of the nodes (scheduling, data,
one object store and one copy of the model per node). One node of one CPU shows how far this machine's cores scale at all.

``make bench-nodes`` runs it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.rounds import print_table
from benchmarks.search import RequireComplete
from benchmarks.shipped import params_for, prepared
from benchmarks.targets import Target, print_targets
from headway import environment
from headway.executors import WorkerLost
from headway.files import read_json
from headway.layout import Layout
from headway.params import Params
from headway.search.goals import objective
from headway.search.trial import Task

#: CPUs of the head, and names of the nodes of one CPU beside it.
CASES: dict[str, tuple[int, tuple[str, ...]]] = {
    "one node of 1 CPU": (1, ()),
    "one node of 3 CPUs": (3, ()),
    "three nodes of 1 CPU": (1, ("one", "two")),
}
ONE, THREE = "one node of 3 CPUs", "three nodes of 1 CPU"
TRIALS, PARTS, ROWS = 6, 60, 1_000
SHARE = 0.8


def main() -> None:
    """Print a table for each kind of work, and the targets with whether they are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nodes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison; the cases take turns")
    parser.add_argument("--connect", nargs=3, metavar=("WORK", "ADDRESS", "FOLDER"), help="measure one case, on its cluster")
    arguments = parser.parse_args()
    environment.configure()
    if arguments.connect:
        work, address, folder = arguments.connect
        print({"search": search, "labelling": labelling}[work](address, Path(folder)))  # noqa: T201 - read by measure()
        return
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        found = {work: measure(work, Path(folder), arguments.rounds, console) for work in ("search", "labelling")}
    targets: list[Target] = []
    for work, speeds in found.items():
        times = statistics.median(new / old for new, old in zip(speeds[THREE], speeds[ONE], strict=True))
        targets.append(
            (f"{work}: three nodes are {times:.2f} times as fast as one node of 3 CPUs, target {SHARE}", times >= SHARE)
        )
    print_targets(console, targets)


def measure(work: str, folder: Path, rounds: int, console: Console) -> dict[str, list[float]]:
    """Speeds of each case by round: trials or rows per second."""
    from tests.executors.nodes import cluster

    speeds: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(rounds):
        for case, (cpus, workers) in CASES.items():
            with cluster(*workers, head_cpus=cpus) as started:
                command = [sys.executable, "-m", "benchmarks.nodes", "--connect", work, started.address, str(folder)]
                done = subprocess.run(command, env=started.environment, stdout=subprocess.PIPE, text=True, check=True)
                speeds[case].append(float(done.stdout.splitlines()[-1]))
    unit = "trials" if work == "search" else "rows"
    table = Table("cluster", f"{unit}/s, by round", "median", title=work)
    for case, values in speeds.items():
        table.add_row(case, ", ".join(f"{value:,.2f}" for value in values), f"{statistics.median(values):,.2f}")
    print_table(console, table)
    return speeds


def chosen() -> Params:
    """One thread for each task."""
    return params_for("rotten_tomatoes", 0).override({"training.threads": 1, "tune.max_epochs": 2})


def encoded() -> Layout:
    """The shipped sentences after ``tokenize``."""
    from headway.stages.tokenize import tokenize

    params = chosen()
    layout = prepared(params, "bench-nodes")
    if not (layout.encoded / "tokenizer.json").exists():
        tokenize(params, layout)
    return layout


def prepare(folder: Path) -> None:
    """Write a model package with the sizes of params.yaml, and files of sentences to label."""
    import torch

    from headway.data.batching.datamodule import WholeTexts
    from headway.data.tokenization import tokenizer
    from headway.data.tokenization.encoded import EncodedTexts
    from headway.model.classifier import AttentionClassifier
    from headway.model.fitting import fit_ngrams
    from headway.model.joint import JointClassifier
    from headway.serving import package
    from headway.tables import read_table

    params, layout = chosen(), encoded()
    file = layout.encoded / "tokenizer.json"
    size = tokenizer.load(file).get_vocab_size()
    classes = read_json(layout.prepared / "labels.json", made_by="prepare")
    texts = {name: EncodedTexts.open(layout.encoded / f"{name}.arrow") for name in ("train", "validation")}
    ngrams = fit_ngrams(WholeTexts(**texts), len(classes), params)
    torch.manual_seed(1)
    model = JointClassifier(ngrams, AttentionClassifier(params.model, size, len(classes)))
    (folder / "model").mkdir()
    package.save(folder / "model", model, file, params.tokenizer.max_length, size, classes)
    sentences = read_table(layout.prepared / "train.parquet", "prepare", ["text"])["text"].to_pylist()
    (folder / "texts.txt").write_text("\n".join(" ".join(text.split()) for text in sentences), encoding="utf-8")


def search(address: str, _folder: Path) -> float:
    """Trials per second, once every worker is there and has loaded the rows."""
    from headway.executors import open_executor
    from headway.search.objective import run_trial
    from headway.stages.tune.rows import load_shared

    params = chosen()
    shared = load_shared(params, encoded())
    with open_executor("ray", run_trial, shared, workers=0, threads=1, address=address) as executor:
        out_of_reach = math.inf if objective(params.tune).maximise else -math.inf
        warm = [Task(0, {}, {0.25: out_of_reach}) for _ in range(executor.workers)]
        executor.run(warm, RequireComplete("pruned", "complete"))
        started = time.monotonic()
        executor.run([Task(number, {}) for number in range(TRIALS)], RequireComplete("complete"))
        return TRIALS / (time.monotonic() - started)


def labelling(address: str, folder: Path) -> float:
    """Rows per second, once every worker has loaded the model; without the reading and writing, which the command itself does."""
    from headway.executors import open_executor
    from headway.serving.batch.work import PackageCopy, classify

    texts = (folder / "texts.txt").read_text(encoding="utf-8").splitlines()
    parts = [[texts[(part * ROWS + row) % len(texts)] for row in range(ROWS)] for part in range(PARTS)]
    with open_executor("ray", classify, PackageCopy.of(folder / "model"), workers=0, address=address) as executor:
        executor.run(parts[: 2 * executor.workers], Everything())
        started = time.monotonic()
        executor.run(parts, Everything())
        return PARTS * ROWS / (time.monotonic() - started)


class Everything:
    """Listens to a batch and raises if a worker was lost."""

    def started(self, position: int) -> None: ...
    def reported(self, position: int, report: Any) -> None: ...
    def ended(self, position: int, result: Any) -> None:
        if isinstance(result, WorkerLost):
            raise result


if __name__ == "__main__":
    main()
