"""``headway serve``: mistakes are one line before anything is loaded, and what it opens is closed again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import types
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import headway.process
from headway.cli import serve as command
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.params import LogParams
from headway.serving.http.settings import ServeSettings
from headway.serving.log.kept_labels import kept_labels
from headway.serving.log.store import PartStore
from headway.serving.package import ModelPackage
from tests.conftest import REPOSITORY
from tests.serving.conftest import TEXTS
from tests.serving.http.fakes import FakeLive, FakeLog, fake_model

SETTINGS = ServeSettings()
TOKEN = "a-token-of-more-than-sixteen-characters"


class Parts:
    """What the command opens, in place of the registry, the live models and the log."""

    def __init__(self, package: ModelPackage) -> None:
        self.events: list[str] = []
        events = self.events

        class Live(FakeLive):
            def __init__(self, where: str, seconds: float) -> None:
                super().__init__(fake_model(package, where))
                self.where, self.seconds = where, seconds

            def start(self) -> None:
                if self.where == "404":
                    raise HeadwayError("sentiment has no version 404")
                events.append(f"start {self.where}")

            def stop(self) -> None:
                events.append(f"stop {self.where}")

        class Log(FakeLog):
            @classmethod
            def open(cls, params: Any, source: str) -> Log:
                events.append(f"open log {params} {source}")
                return cls()

            def close(self, seconds: float) -> None:
                events.append("close log")

        self.modules: dict[str, Any] = {
            "headway.registry.sources": {"open_source": lambda where, model_name=None: where},
            "headway.serving.live.live_model": {"LiveModel": Live},
            "headway.serving.log": {"PredictionLog": Log},
        }


@pytest.fixture
def parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    made = Parts(ModelPackage.load(folder))
    for name, content in made.modules.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(command, "_log_params", lambda folder: folder or None)
    return made


@pytest.fixture(autouse=True)
def signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headway.process, "raise_on_termination", lambda: None)


def test_an_address_on_the_network_without_tokens_is_refused() -> None:
    with pytest.raises(HeadwayError, match="--token-file"):
        command.serve(host="0.0.0.0")


def test_a_port_in_use_is_refused_before_a_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(HeadwayError, match="in use"):
        command.serve(model="no such folder", port=other.getsockname()[1])


@pytest.mark.parametrize("content", [None, "", "short\n"])
def test_a_token_file_that_cannot_be_used_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_text(content)
    with pytest.raises(HeadwayError, match=r"tokens"):
        command.serve(token_file=str(file))


def test_tokens_come_from_the_environment_and_a_file_that_others_can_read_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADWAY_TOKENS", f"{TOKEN}\n{TOKEN}-2\n")
    assert len(command._tokens("").digests) == 2
    file = tmp_path / "tokens"
    file.write_text(TOKEN)
    file.chmod(0o644)
    assert len(command._tokens(str(file)).digests) == 1  # the file wins
    assert "chmod 600" in capsys.readouterr().err


def test_the_parts_of_a_service_are_opened_and_closed_in_order(parts: Parts) -> None:
    opened = command.open_service("champion", "", "8", 15.0, "logs", SETTINGS)
    opened.close()
    assert opened.version == "champion"
    assert parts.events == [
        "open log logs http",
        "start champion",
        "start 8",
        "stop champion",
        "stop 8",
        "close log",
    ]


def test_what_was_opened_is_closed_if_a_later_part_cannot_be(parts: Parts) -> None:
    with pytest.raises(HeadwayError, match="404"):
        command.open_service("champion", "", "404", 15.0, "logs", SETTINGS)
    assert parts.events == ["open log logs http", "start champion", "stop champion", "close log"]


def test_the_ready_line_names_address_version_and_whether_a_token_is_needed(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from headway.serving.http import server

    served: list[ServeSettings] = []

    def serve(opened: Any, settings: ServeSettings, listener: socket.socket, on_ready: Any) -> None:
        served.append(settings)
        on_ready()

    monkeypatch.setattr(server, "serve", serve)
    command.serve(model="7", port=0)
    assert "version 7 at http://127.0.0.1:" in capsys.readouterr().out
    monkeypatch.setenv("HEADWAY_TOKENS", TOKEN)
    command.serve(model="7", port=0, host="0.0.0.0")
    found = capsys.readouterr()
    assert "1 token" in found.out
    assert "--allowed-host" in found.err
    assert served[0].allowed_hosts == ("localhost", "127.0.0.1", "[::1]", "127.0.0.1")
    assert "0.0.0.0" not in served[1].allowed_hosts


def test_a_folder_is_served_until_sigterm(folder: Path, tmp_path: Path) -> None:
    """The real command, without a project."""
    run = [sys.executable, "-m", "headway.cli", "serve", "--model", str(folder), "--port", "0", "--drain", "0"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    with subprocess.Popen(run, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            address = line.split(" at ")[1].split(": ")[0]
            body = json.dumps({"texts": TEXTS}).encode()
            request = urllib.request.Request(f"{address}/predict", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                labels = [found["label"] for found in json.load(answer)["predictions"]]
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert labels == headway.load(folder).predict(TEXTS)


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "headway.cli", "serve", "--model", "no/such/folder", "--port", "0"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("headway: ")
    assert done.stderr.count("\n") == 1


def test_labels_of_requests_are_renamed_as_those_of_the_training_data(
    project: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = project.params.read_text(encoding="utf-8")
    project.params.write_text(text.replace("label_map: {} ", 'label_map: {pos: "1", "?": ""} '), encoding="utf-8")
    monkeypatch.chdir(project.root)
    log = LogParams(folder=str(tmp_path / "log"), texts="none", keep_days=0)
    rows = [{"request_id": "a", "label": "pos"}, {"request_id": "b", "label": "?"}]
    found = command._add_labels(log, command._label_map(), rows)
    assert (found["added"], sum(found["quarantined"].values())) == (1, 1)
    assert list(kept_labels(PartStore.open(log.folder)).labels.values()) == ["1"]
    monkeypatch.chdir(tmp_path)
    assert not command._label_map()
