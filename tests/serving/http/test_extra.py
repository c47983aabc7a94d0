"""The service needs the packages of the ``serving`` extra and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.serving.conftest import TEXTS
from tests.serving.test_package import modules_beyond

ONLY = """
import runpy, sys

absent = set(sys.argv.pop(1).split(","))

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"{name} is not installed where only the serving extra is", name=name)

sys.meta_path.insert(0, Refuse())
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def only() -> list[str]:
    """The beginning of a command that runs a module where nothing but the extra is installed."""
    absent = modules_beyond("serving") - {"tests"}
    assert absent > {"mlflow", "prefect", "pytorch_lightning", "sklearn", "captum", "httpx"}
    return [sys.executable, "-c", ONLY, ",".join(sorted(absent))]


def test_a_process_with_only_the_serving_extra_answers_requests(saved: Path, only: list[str]) -> None:
    command = [*only, "tests.serving.http.program", str(saved), "{}"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stderr
            line = process.stdout.readline()
            assert line, process.stderr.read()
            body = json.dumps({"texts": TEXTS}).encode()
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(line.split()[-1] + "/predict", body, headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert len(json.load(answer)["predictions"]) == len(TEXTS)
        finally:
            process.kill()


def test_the_command_line_starts_with_only_the_serving_extra(only: list[str]) -> None:
    done = subprocess.run([*only, "headway.cli", "serve", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--token-file" in done.stdout
