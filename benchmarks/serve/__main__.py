"""Measures labelling of files and the HTTP service. ``make bench-serve`` runs it; ``--soak MINUTES`` is a long load instead."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.panel.cells import mistakes_in_one_line
from benchmarks.serve import files, over_http, soak
from benchmarks.serve.model import subject
from benchmarks.targets import Target, print_targets
from headway import environment


def main() -> None:
    """Print the tables, and the targets with whether they are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--only", choices=("files", "http"), help="one half alone")
    parser.add_argument("--rounds", type=int, default=3, help="of each comparison")
    parser.add_argument(
        "--rows", type=int, nargs=2, default=[100_000, 1_000_000], help="of the two files whose memory is compared"
    )
    parser.add_argument("--soak", type=float, metavar="MINUTES", default=0.0, help="load the server that long, with mishaps")
    arguments = parser.parse_args()
    environment.configure()
    console = Console()
    targets: list[Target] = []
    with mistakes_in_one_line(console), tempfile.TemporaryDirectory() as name:
        console.print("Preparing the model and the texts")
        found = subject()
        folders = {part: Path(name) / part for part in ("files", "http", "soak")}
        for folder in folders.values():
            folder.mkdir()
        if arguments.soak:
            targets += soak.measure(found, folders["soak"], arguments.soak, console)
        else:
            if arguments.only != "http":
                targets += files.measure(found, folders["files"], arguments.rounds, arguments.rows, console)
            if arguments.only != "files":
                targets += over_http.measure(found, folders["http"], arguments.rounds, console)
    print_targets(console, targets)


if __name__ == "__main__":
    main()
