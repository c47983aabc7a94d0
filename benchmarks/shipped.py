"""The data sets that ship with Headway, prepared for the benchmarks of the model."""

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
    """params.yaml with a shipped data set as its source.

    The search space is empty, so that a knob may have a value outside its range; training is on the CPU.

    Args:
        subset: one of SUBSETS.
        max_rows: size of a sample; 0 for all rows.
    """
    chosen = {"data.source": "package", "data.subset": subset, "data.max_rows": max_rows, **PLAIN}
    return parameters.load(PROJECT / "params.yaml").override(chosen)


def prepared(params: Params, benchmark: str) -> Layout:
    """The data set after ``ingest`` and ``prepare``, in a folder that belongs to these params and this code."""
    fits = params.model_dump(exclude={"tune", "gate", "registry"})
    key = sha256_of_json([fits, code_fingerprint(Layout(PROJECT))])[:16]
    layout = Layout(PROJECT / ".headway" / benchmark / key / "data")
    if not (layout.prepared / "labels.json").exists():
        ingest(params, layout)
        prepare(params, layout)
    return layout
