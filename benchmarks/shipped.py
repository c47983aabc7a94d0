"""The shipped data sets for the benchmarks of the model: prepared once, and a folder for the fits that are finished."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headway import params as parameters
from headway.files import sha256_of_json
from headway.layout import Layout
from headway.lineage import code_fingerprint
from headway.params import Params
from headway.stages.ingest import ingest
from headway.stages.prepare import prepare

PROJECT = Path(__file__).resolve().parents[1]
PLAIN: dict[str, Any] = {"tune.space": {}, "training.accelerator": "cpu", "training.devices": 1}
SUBSETS = ("imdb", "rotten_tomatoes")


def params_for(subset: str, max_rows: int) -> Params:
    """params.yaml with a shipped data set for its source; ``max_rows`` keeps a sample, 0 keeps all.

    Nothing is searched, so that a knob may also have a value that the search leaves out; and all is trained on the CPU.
    """
    chosen = {"data.source": "package", "data.subset": subset, "data.max_rows": max_rows, **PLAIN}
    return parameters.load(PROJECT / "params.yaml").override(chosen)


def prepared(params: Params, benchmark: str) -> Layout:
    """The data set as ``ingest`` and ``prepare`` leave it, in a folder of its own for these params and this code."""
    fits = params.model_dump(exclude={"tune", "gate", "registry"})
    key = sha256_of_json([fits, code_fingerprint(Layout(PROJECT))])[:16]
    layout = Layout(PROJECT / ".headway" / benchmark / key / "data")
    if not (layout.prepared / "labels.json").exists():
        ingest(params, layout)
        prepare(params, layout)
    return layout
