"""The command ``headway train`` on two machines: process 0 writes the model, the other one takes part and writes nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from headway.errors import HeadwayError
from headway.files import write_json
from headway.layout import Layout
from headway.stages.train.fitting import train_where_asked
from tests.executors.nodes import clean_environment, free_port
from tests.stages.conftest import SMALL, with_database


@pytest.mark.slow
def test_process_0_writes_the_model_and_the_other_one_nothing(reviews: Any, database: Path, tmp_path: Path) -> None:
    machines = [Layout(Path(shutil.copytree(reviews.layout.root, tmp_path / name))) for name in ("first", "second")]
    port, started = str(free_port()), []
    for rank, layout in enumerate(machines):
        if rank == 0:
            with_database(layout, database)
        write_json(layout.study / "best_params.json", {})
        chosen = reviews.params.override({**SMALL, "training.devices": 2, "training.accelerator": "cpu", "tune.space": {}})
        with layout.params.open("w", encoding="utf-8") as file:
            YAML(typ="safe").dump(chosen.model_dump(), file)
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "RANK": str(rank)}
        command = [sys.executable, "-m", "headway.cli", "train"]
        started.append(
            subprocess.Popen(command, cwd=layout.root, env=clean_environment(**place), stdout=subprocess.PIPE, text=True)
        )
    first, second = (process.communicate(timeout=240)[0].splitlines() for process in started)
    assert [process.returncode for process in started] == [0, 0]
    assert first[-1].startswith("validation accuracy ")
    assert second[-1] == "process 1 of 2 has taken part; process 0 has the model"
    assert (machines[0].candidate / "config.json").exists()
    left = {path.name for path in machines[1].root.iterdir()} - {path.name for path in machines[0].root.iterdir()}
    assert not left
    assert not machines[1].candidate.exists()
    assert not machines[1].tracking.exists()


def test_torchrun_and_ray_together_are_one_line(params: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "2", "RANK": "0"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    training = params.override({"training.strategy": "ray", "training.devices": 2}).training
    with pytest.raises(
        HeadwayError, match=r"^training\.strategy: ray, but 2 processes were started \(WORLD_SIZE\); set it to ddp"
    ):
        train_where_asked(None, None, training, Path())  # type: ignore[arg-type]
