"""A process with only the packages of the ``serving`` extra logs, reads the log and takes labels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from headway.params import LogParams
from tests.serving.test_package import REFUSE_ABSENT, modules_beyond

ASK = (
    REFUSE_ABSENT
    + """
from pathlib import Path
from headway.params import LogParams
from headway.serving.log import LabelRow, PredictionLog, add_labels, join_labels
from headway.serving.package import ModelPackage

class Served:
    package, version = ModelPackage.load(Path(sys.argv[1])), "7"

params = LogParams(folder=sys.argv[2], texts="hashed", keep_days=90)
log = PredictionLog.open(params, "http")
log.add(Served, ["r0"], ["a charming film"], Served.package.predict_proba(["a charming film"]))
log.close(60)
print(add_labels(params, [LabelRow("positive", text="a charming film")], "http", look_up=True).unmatched)
print([(row.request_id, row.true_label) for row in join_labels(params)])
"""
)


def test_the_serving_extra_is_enough_for_the_log(saved: Path, log_params: LogParams) -> None:
    command = [sys.executable, "-c", ASK, str(saved), log_params.folder, ",".join(sorted(modules_beyond("serving")))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["0", "[('r0', 'positive')]"]
