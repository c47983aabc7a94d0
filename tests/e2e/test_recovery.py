"""Kills, a second flow, lost files, servers that do not answer: each is reported in one line, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import threading
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import Clone, end, wait_for

pytestmark = pytest.mark.e2e
NAME = "headway"


def below(pid: int) -> dict[psutil.Process, list[str]]:
    """The descendants of a process, with their command lines; without those that end during the call."""
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                found[process] = process.cmdline()
    return found


def stages(pid: int, name: str) -> list[psutil.Process]:
    """The descendants of a process that run a stage; not DVC or a shell, whose command lines contain its name too."""
    return [
        process
        for process, words in below(pid).items()
        if words[-1:] == [name] and any(Path(word).name == "headway" for word in words)
    ]


def training_steps(printed: str) -> list[int]:
    """The steps that the lines of the training's progress give."""
    return [int(step.replace(",", "")) for step in re.findall(r"train · step ([\d,]+)/", printed)]


def only_line(text: str) -> str:
    """The only line of Headway's own on the error output."""
    (line,) = [line for line in text.splitlines() if line.startswith("headway: ")]
    assert "Traceback" not in text
    return line


def test_a_killed_flow_leaves_nothing_behind_and_the_next_run_goes_on(resumed: Clone, tmp_path: Path) -> None:
    """A second flow is refused while the first runs; after kill -9 during training, `dvc repro` continues the training."""
    clone, log = resumed, tmp_path / "flow.log"
    clone.edit(
        ("  max_epochs: 3               # Passes", "  max_epochs: 6               # Passes"),
        ("  patience: auto ", "  patience: 99 "),
    )
    flow = clone.start("headway", "run", log=log)
    try:
        wait_for(lambda: "trial 0" in log.read_text(), 300, "the search")
        second = clone.run("headway", "run")
        assert second.returncode == 2
        assert re.search(rf"another flow is running in this project \(process {flow.pid}, since", only_line(second.stderr))
        # A line is printed before each evaluation, so that the first one is done when the next line comes.
        wait_for(lambda: len(training_steps(log.read_text())) > 1, 300, "the second line of the training")
        workers = [process for process, words in below(flow.pid).items() if "headway" in " ".join(words)]
        assert set(stages(flow.pid, "train")) & set(workers)
        flow.send_signal(signal.SIGKILL)
        flow.wait(30)
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive, alive
    finally:
        end(flow)
    reproduced = clone.run("dvc", "repro")
    printed = reproduced.stdout + reproduced.stderr
    assert reproduced.returncode == 0, printed[-3000:]
    assert "Running stage 'train'" in printed
    assert "Running stage 'tune'" not in printed
    first = json.loads((clone.layout.training / "history.json").read_text())[0]["step"]
    assert training_steps(printed)[0] > first, "the training did not continue from its checkpoint"
    history = json.loads((clone.layout.training / "history.json").read_text())
    assert history[-1]["epoch"] == 6
    after = clone.run("headway", "run")
    printed = after.stdout + after.stderr
    assert after.returncode == 0, printed[-3000:]
    assert "Running stage" not in printed, "a flow after `dvc repro` has no stage to run"
    assert "PROMOTED: version 1" in printed
    tracker = clone.tracker()
    runs = tracker.client.search_runs([tracker.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len([run for run in runs if run.data.tags["headway.kind"] == "pipeline"]) == 1
    assert len([run for run in runs if run.data.tags["headway.kind"] == "training"]) == 1
    assert [record.kind for record in clone.decisions()] == ["promotion"]


def test_a_flow_that_is_interrupted_ends_its_stages(clone: Clone, tmp_path: Path) -> None:
    log = tmp_path / "flow.log"
    flow = clone.start("headway", "run", log=log)
    try:
        # The log is no sign: DVC prints the name of a stage before it starts it.
        workers = wait_for(lambda: stages(flow.pid, "baseline"), 200, "the baseline to begin")
        flow.send_signal(signal.SIGINT)
        assert flow.wait(60) != 0
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive, alive
        assert "linear baseline: test accuracy" not in log.read_text(), "the baseline was not interrupted"
    finally:
        end(flow)


def test_truncated_outs_are_restored(ran: Clone) -> None:
    weights = ran.layout.candidate / "weights.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(whole[: len(whole) // 2])
    done = ran.run("headway", "run")
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-3000:]
    assert weights.read_bytes() == whole


def test_a_champion_whose_run_was_deleted_is_still_scored(ran: Clone) -> None:
    """MLflow keeps a version's files apart from its run. A new candidate is trained, so that there is a comparison."""
    client = ran.tracker().client
    champion = client.get_model_version_by_alias(NAME, "champion")
    client.delete_run(champion.run_id)
    warmup = re.search(r"  warmup_ratio: \S+", ran.layout.params.read_text())[0]
    ran.edit((warmup, "  warmup_ratio: 0.05"))
    done = ran.run("headway", "run")
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-3000:]
    newest = max(client.search_model_versions(f"name = '{NAME}'"), key=lambda version: int(version.version))
    assert str(newest.version) != str(champion.version)
    record = ran.decisions()[-1]
    assert record.candidate.version == str(newest.version)
    assert record.champion.version == str(champion.version)
    assert 0 < record.scores[f"champion, version {champion.version}"]["accuracy"] < 1
    assert f"champion, version {champion.version}" in printed
    client.restore_run(champion.run_id)  # other tests share this project


def test_a_champion_whose_files_are_gone_refuses_until_it_is_retired(ran: Clone) -> None:
    """The gate refuses, because it cannot compare, and names the command; after that the next run promotes a first champion."""
    client = ran.tracker().client
    champion = client.get_model_version_by_alias(NAME, "champion")
    (stored,) = (ran.layout.tracking / "artifacts").rglob(f"{champion.source.split('/')[-1]}/artifacts")
    shutil.move(stored, stored.with_name("lost"))
    refused = ran.run("headway", "run")
    printed = refused.stdout + refused.stderr
    assert refused.returncode == 2, printed[-3000:]
    assert "is not promoted" in printed
    assert f"version {champion.version} stays champion" in printed
    for part in ("cannot be loaded", "headway retire"):
        assert part in only_line(refused.stderr)
    predicted = ran.run("headway", "predict", "--text", "a fine film")
    assert predicted.returncode == 2
    assert "cannot be loaded" in only_line(predicted.stderr)
    retired = ran.run("headway", "retire", "--reason", "its files were lost")
    assert retired.returncode == 0, retired.stderr
    promoted = ran.run("headway", "run")
    assert "PROMOTED" in promoted.stdout, promoted.stdout[-3000:] + promoted.stderr[-3000:]
    assert ran.run("headway", "predict", "--text", "a fine film").returncode == 0
    assert "its files were lost" in client.get_model_version(NAME, champion.version).tags["headway.retired"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
            r"MLflow at http://127.0.0.1:9 does not answer \(.*refused\); start",
        ),
        ({"PREFECT_API_URL": "http://127.0.0.1:9/api"}, r"the Prefect server at http://127.0.0.1:9/api does not answer"),
    ],
    ids=["tracking", "prefect"],
)
def test_a_server_that_does_not_answer_is_one_line(ran: Clone, environment: dict[str, str], expected: str) -> None:
    done = ran.run("headway", "run", **environment)
    assert done.returncode == 2
    assert re.search(expected, only_line(done.stderr))
    assert len(done.stderr.splitlines()) == 1


def test_a_misspelt_param_is_one_line_before_anything_runs(ran: Clone) -> None:
    ran.edit(("  d_model: 64", "  d_modle: 64"))
    try:
        for command in (["headway", "run"], ["headway", "params"], ["headway", "train"]):
            done = ran.run(*command)
            assert done.returncode == 2
            assert re.fullmatch(
                r"headway: params\.yaml:\d+: model\.d_modle: unknown key; did you mean d_model\?.*", done.stderr.strip()
            )
            assert not done.stdout
    finally:
        ran.edit(("  d_modle: 64", "  d_model: 64"))


def test_a_command_outside_a_project_says_so(tmp_path: Path, ran: Clone) -> None:
    done = Clone(tmp_path).run("headway", "run")
    assert done.returncode == 2
    assert "not inside a Headway project" in only_line(done.stderr)


def test_a_proxy_that_swallows_everything_is_not_asked_for_this_machine(ran: Clone) -> None:
    """The flow and its Prefect server are on this machine; nothing has to run, so nothing else is reached."""
    listening, asked = socket.create_server(("127.0.0.1", 0)), []

    def swallow() -> None:
        with contextlib.suppress(OSError):
            while True:
                asked.append(listening.accept())

    threading.Thread(target=swallow, daemon=True).start()
    proxy = f"http://127.0.0.1:{listening.getsockname()[1]}"
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), proxy)
    done = ran.run("headway", "run", **proxies, NO_PROXY="", no_proxy="")
    listening.close()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert not asked
