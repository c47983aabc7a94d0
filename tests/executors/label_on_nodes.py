"""Labels a file on a cluster in small parts, for tests: MODEL INPUT OUTPUT ADDRESS."""

from __future__ import annotations

import sys
from pathlib import Path

from headway.layout import Layout
from headway.params import load
from headway.serving import batch
from headway.serving.batch.inputs import ReadingOptions, find_inputs

if __name__ == "__main__":
    model, given, out, address = sys.argv[1:]
    params = load(Path(__file__).parents[2] / "params.yaml")
    batch.ROWS_PER_PART = 100
    folder = Path(given).parent
    inputs = find_inputs([given], ReadingOptions(), params.data, Layout(folder), folder, sys.stdin.buffer)
    batch.predict_files(batch.Job(inputs, Path(model), "7", "csv"), Path(out), batch.Workers(3, "ray", address))
