"""A real cluster of three nodes in processes of their own, with a token: work goes on when one of them is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.executors.nodes import Cluster, cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with cluster("one") as started:
        yield started


@pytest.fixture
def nodes(running: Cluster) -> Cluster:
    """The head and two workers, whatever the test before has killed."""
    for name in ("one", "two"):
        if name not in running.nodes:
            running.start(name)
    return running


def program(nodes: Cluster, *command: Any, **environment: str) -> subprocess.Popen[str]:
    """A program that has the token, started."""
    arguments = [sys.executable, "-m", *map(str, command)]
    env = {**nodes.environment, **environment}
    return subprocess.Popen(
        arguments, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True
    )


def ended(started: subprocess.Popen[str]) -> list[Any]:
    """What a program of ``node_programs`` has said in the end."""
    return [
        json.loads(line) for line in started.communicate(timeout=SECONDS)[0].splitlines() if line.startswith(('["', "[["))
    ]


#: No test here waits for minutes.
SECONDS = 240


def said(output: IO[str] | None, wanted: Callable[[str], bool]) -> list[str]:
    """The lines up to one that is waited for."""
    assert output
    lines = []
    for line in output:
        lines.append(line.strip())
        if wanted(line):
            return lines
    raise AssertionError(f"not said: {lines}")


def test_tasks_run_on_all_nodes(nodes: Cluster) -> None:
    (found,) = ended(program(nodes, "tests.executors.node_programs", "places", nodes.address))
    assert len(found[0]) == 3


@pytest.mark.parametrize(
    "given", [{"RAY_AUTH_TOKEN": "wrong"}, {"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "", "HOME": "/none"}]
)
def test_a_wrong_or_missing_token_is_one_line(nodes: Cluster, given: dict[str, str]) -> None:
    ((what, kind, message),) = ended(program(nodes, "tests.executors.node_programs", "places", nodes.address, **given))
    assert (what, kind) == ("error", "Unreachable")
    assert message.startswith("tune.address: the Ray cluster requires a token, and this process has no valid one; ")
    assert ("set RAY_AUTH_MODE=token" in message) == ("RAY_AUTH_MODE" in given)


def test_a_node_with_another_version_of_headway_is_named_before_any_work(nodes: Cluster, tmp_path: Path) -> None:
    other = tmp_path / "headway-9.9.9.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: headway\nVersion: 9.9.9\n")
    path = f"{tmp_path}:{nodes.environment['PYTHONPATH']}"
    nodes.start("newer", environment={"PYTHONPATH": path})
    try:
        ((what, kind, message),) = ended(program(nodes, "tests.executors.node_programs", "places", nodes.address))
    finally:
        nodes.kill("newer")
    assert (what, kind) == ("error", "HeadwayError")
    assert message.startswith("tune.address: node newer of the Ray cluster has Headway 9.9.9, and this machine has Headway ")


def test_a_search_finds_the_same_when_a_node_is_killed(nodes: Cluster, tmp_path: Path) -> None:
    started = program(nodes, "tests.executors.node_programs", "search", nodes.address, tmp_path)
    said(started.stdout, lambda line: '"trial", 11' in line)  # the one in its own process
    said(started.stdout, lambda line: '"trial"' in line)
    nodes.kill("two")
    *told, last = ended(started)
    assert last == ["equal", True, 12]
    assert [line for kind, line in told if kind == "message" and "running it once more" in line]


def test_processes_that_work_together_start_again_where_they_were_when_a_node_is_killed(nodes: Cluster) -> None:
    started = program(nodes, "tests.executors.node_programs", "gang", nodes.address, 3)
    before = said(started.stdout, lambda line: '"number", 5' in line)
    nodes.kill("two")
    said(started.stdout, lambda line: "on node two of the Ray cluster is gone" in line and "all of them start again" in line)
    said(started.stdout, lambda line: line.startswith('["message') and "waiting for 3 × 1 CPUs" in json.loads(line)[1])
    nodes.start("two")
    *after, last = ended(started)
    assert last == ["done"]
    numbers = [json.loads(line)[1] for line in before if '"number"' in line] + [
        number for kind, number in after if kind == "number"
    ]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 15


def test_an_error_of_one_process_is_raised_and_not_that_another_one_misses_it(nodes: Cluster) -> None:
    said = ended(program(nodes, "tests.executors.node_programs", "failing", nodes.address, "raise"))
    assert said == [["error", "HeadwayError", "a mistake in process 1"]]


def test_processes_that_are_lost_again_and_again_are_one_line(nodes: Cluster) -> None:
    *said, (what, kind, message) = ended(program(nodes, "tests.executors.node_programs", "failing", nodes.address, "die"))
    assert len(said) == 2
    assert all(line.endswith("; all of them start again") for _, line in said)
    assert (what, kind) == ("error", "HeadwayError")
    assert message.startswith("tune.executor: processes on the Ray cluster were lost 3 times: a process on node ")


def test_a_training_on_three_nodes_gives_the_weights_of_one_machine_also_when_one_is_killed(
    nodes: Cluster, reviews: Any, tmp_path: Path
) -> None:
    def trains(folder: str, strategy: str) -> subprocess.Popen[str]:
        arguments = [reviews.layout.encoded, tmp_path / folder / "key", strategy, nodes.address, 3]
        return program(nodes, "tests.model.one_of_several", *arguments)

    expected = [
        line
        for line in trains("here", "ddp").communicate(timeout=SECONDS)[0].splitlines()
        if "evaluation" in line or "weights" in line
    ]
    started = trains("nodes", "ray")
    before = said(started.stdout, lambda line: line.startswith("evaluation"))
    nodes.kill("two")
    before += said(started.stdout, lambda line: "all of them start again" in line)
    nodes.start("two")
    after = started.communicate(timeout=SECONDS)[0].splitlines()
    found = [line for line in [*before, *after] if line.startswith(("evaluation", "weights"))]
    assert found == expected
    assert found[-1].startswith("weights ")


@pytest.fixture(scope="module")
def model(reviews: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small package with random weights."""
    import torch

    from headway.data.tokenization import tokenizer
    from headway.model.classifier import AttentionClassifier
    from headway.model.joint import JointClassifier
    from headway.serving import package

    file = reviews.layout.encoded / "tokenizer.json"
    size = tokenizer.load(file).get_vocab_size()
    sizes = reviews.params.override({"model.d_model": 8, "model.window_size": 16, "model.bigram_buckets": 64}).model
    torch.manual_seed(0)
    made = JointClassifier(None, AttentionClassifier(sizes, size, 2)).eval()
    folder = tmp_path_factory.mktemp("model")
    package.save(folder, made, file, 40, size, ["negative", "positive"], None)
    return folder


def test_a_labelled_file_has_the_same_bytes_when_a_node_is_killed(nodes: Cluster, model: Path, tmp_path: Path) -> None:
    rows = "".join(f"{row},a film about {row} people who talk and talk and never {row % 7} end\n" for row in range(30_000))
    (tmp_path / "in.csv").write_text(f"id,text\n{rows}")

    def labels(out: str) -> subprocess.Popen[str]:
        return program(nodes, "tests.executors.label_on_nodes", model, tmp_path / "in.csv", tmp_path / out, nodes.address)

    assert labels("whole.csv").wait(SECONDS) == 0
    started = labels("out.csv")
    parts = tmp_path / ".out.csv.parts"
    end = time.monotonic() + SECONDS
    while len(list(parts.glob("*.part"))) < 30:
        assert started.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    nodes.kill("two")
    assert len(list(parts.glob("*.part"))) < 250
    assert started.wait(SECONDS) == 0
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
