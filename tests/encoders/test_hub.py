"""An encoder is fetched from the Hub at a commit, against a server in the Hub's layout on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tenacity
from huggingface_hub import constants

from headway import network
from headway.encoders import folder, hub, origin
from headway.encoders.add import add
from headway.errors import HeadwayError, Unreachable
from headway.files import sha256_of_file
from headway.layout import Layout
from tests.encoders.conftest import write_encoder, write_shards
from tests.encoders.hub_server import NAME, REVISION, Hub

WHAT = f"{NAME}@{REVISION}"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    source = write_encoder(tmp_path / "hub")
    (source / "tokenizer_config.json").write_text("{}")
    (source / "LICENSE.txt").write_text("Apache License")
    (source / "pytorch_model.bin").write_bytes(b"pickle")
    (source / "modeling.py").write_text("raise SystemExit")
    started = Hub(source)
    monkeypatch.setattr(constants, "ENDPOINT", started.url)
    template = started.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(network, "WAIT", tenacity.wait_none())
    yield started
    started.close()


def refusal(encoders: Path, what: str = WHAT) -> str:
    with pytest.raises(HeadwayError) as caught:
        add(encoders, what)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def unfinished(encoders: Path) -> list[Path]:
    return [path for path in encoders.rglob("*.partial") if path.is_dir()]


def test_the_files_arrive_with_a_record_and_nothing_else_does(encoders: Path, server: Hub) -> None:
    added = add(encoders, WHAT)
    assert (added.name, added.is_new) == (NAME, True)
    names = {path.name for path in (encoders / NAME).iterdir()}
    taken = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "README.md", "LICENSE.txt"}
    assert names == {*taken, "encoder.json"}
    found = folder.read(encoders, NAME, REVISION)
    assert (found.source, found.revision, found.licence) == (NAME, REVISION, "apache-2.0")
    assert found.sha256["model.safetensors"] == sha256_of_file(server.folder / "model.safetensors")
    assert unfinished(encoders) == []
    assert (encoders / NAME / "config.json").stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def test_the_network_is_off_again_afterwards(encoders: Path, server: Hub) -> None:
    add(encoders, WHAT)
    assert constants.HF_HUB_OFFLINE
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_the_same_commit_again_fetches_nothing(encoders: Path, server: Hub) -> None:
    add(encoders, WHAT)
    server.requests.clear()
    assert not add(encoders, WHAT).is_new
    assert server.requests == []


def test_another_commit_of_the_same_name_is_refused(encoders: Path, server: Hub) -> None:
    add(encoders, WHAT)
    assert "--name" in refusal(encoders, f"{NAME}@{'b' * 40}")


def test_a_folder_without_a_record_is_not_replaced(encoders: Path, server: Hub) -> None:
    write_encoder(encoders / NAME)
    assert "--name" in refusal(encoders)
    assert server.requests == []


def test_weights_in_several_files_are_fetched_with_their_index(encoders: Path, server: Hub) -> None:
    write_shards(server.folder)
    assert len(add(encoders, WHAT).files.weights) == 2


def test_only_one_format_of_the_weights_is_fetched(encoders: Path, server: Hub) -> None:
    shutil.copyfile(server.folder / "model.safetensors", server.folder / "model.fp16.safetensors")
    add(encoders, WHAT)
    assert "model.fp16.safetensors" not in server.fetched()


def test_a_token_for_the_hub_is_not_sent_to_the_host_of_the_weights(
    encoders: Path, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.redirects = True
    assert add(encoders, WHAT).is_new
    assert set(server.tokens) == {("127.0.0.1", "Bearer hf_secret"), ("localhost", "")}


def test_an_error_of_the_server_is_retried(encoders: Path, server: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    server.statuses = [503, 500]
    assert add(encoders, WHAT).is_new
    assert "attempt 2 of 5" in capsys.readouterr().err


def test_a_connection_that_ends_early_is_continued(encoders: Path, server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 64)
    server.cut = 100
    assert add(encoders, WHAT).is_new
    assert server.ranges() == ["", "bytes=64-"]


def test_a_process_that_was_killed_leaves_what_has_arrived_for_the_next(
    encoders: Path, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 64)
    shown = hub.ProgressLine.update

    def killed(line: hub.ProgressLine, describe: Callable[[], str]) -> None:
        shown(line, describe)
        if describe().startswith("model.safetensors") and len(killing) < 3:
            killing.append(describe())
        if len(killing) == 2:
            killing.append("killed")
            raise KeyboardInterrupt

    killing: list[str] = []
    monkeypatch.setattr(hub.ProgressLine, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        add(encoders, WHAT)
    assert len(unfinished(encoders)) == 1
    assert folder.names(encoders) == []
    server.requests.clear()
    assert add(encoders, WHAT).is_new
    assert server.fetched() == ["model.safetensors"]
    assert server.ranges() == ["bytes=64-"]
    assert unfinished(encoders) == []


def test_a_file_that_arrives_damaged_is_fetched_again(encoders: Path, server: Hub) -> None:
    server.damage = 1
    add(encoders, WHAT)
    found = folder.read(encoders, NAME)
    assert found.sha256["model.safetensors"] == sha256_of_file(server.folder / "model.safetensors")


def test_a_file_that_stays_damaged_is_an_error(encoders: Path, server: Hub) -> None:
    server.damage = 100
    with pytest.raises(Unreachable, match=r"model\.safetensors"):
        add(encoders, WHAT)
    assert folder.names(encoders) == []


def test_pickled_weights_are_refused_before_anything_is_fetched(encoders: Path, server: Hub) -> None:
    (server.folder / "model.safetensors").unlink()
    message = refusal(encoders)
    assert "pytorch_model.bin" in message
    assert "pickle" in message
    assert server.fetched() == []
    assert not encoders.exists() or list(encoders.iterdir()) == []


@pytest.mark.parametrize("change", [{"model_type": "t5"}, {"auto_map": {"AutoModel": "modeling.Model"}}])
def test_an_encoder_that_cannot_be_used_is_refused_before_its_weights(
    encoders: Path, server: Hub, change: dict[str, object]
) -> None:
    (server.folder / "config.json").write_text(json.dumps({"model_type": "bert"} | change))
    message = refusal(encoders)
    assert next(iter(change)) in message
    assert ".partial" not in message
    assert server.fetched() == ["config.json"]
    assert unfinished(encoders) == []


def test_a_missing_tokenizer_names_the_encoder_and_leaves_nothing(encoders: Path, server: Hub) -> None:
    (server.folder / "tokenizer.json").unlink()
    message = refusal(encoders)
    assert NAME in message
    assert "tokenizer.json" in message
    assert ".partial" not in message
    assert unfinished(encoders) == []


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (401, "RepoNotFound", "private"),
        (404, "RepoNotFound", "check the name"),
        (403, "GatedRepo", "accept its conditions"),
        (404, "RevisionNotFound", "check the commit"),
    ],
)
def test_a_refusal_of_the_hub_says_what_to_do(encoders: Path, server: Hub, status: int, code: str, advice: str) -> None:
    server.refusal = (status, code)
    message = refusal(encoders)
    assert advice in message
    assert "attempt" not in message


def test_without_a_network_the_other_ways_are_named(encoders: Path, server: Hub) -> None:
    server.close()
    message = refusal(encoders)
    assert "check the network" in message
    assert "installed package" in message
    assert list(encoders.rglob("*")) == []


def test_a_disk_that_is_too_small_is_found_before_the_download(
    encoders: Path, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin, "RESERVE", 10**18)
    assert "free some space" in refusal(encoders)
    assert server.fetched() == []


@pytest.mark.parametrize("revision", ["main", "v1.0", "a" * 39, "A" * 40, "g" * 40, ""])
def test_a_branch_a_tag_or_a_short_commit_is_refused(encoders: Path, revision: str) -> None:
    message = refusal(encoders, f"{NAME}@{revision}")
    assert "40 hex digits" in message


@pytest.mark.parametrize("name", ["../tiny", "a/b/c", "", "a b", "https://hub.example.org/a"])
def test_a_name_that_the_hub_cannot_have_is_refused(encoders: Path, name: str) -> None:
    with pytest.raises(HeadwayError):
        add(encoders, f"{name}@{REVISION}")
    assert not encoders.exists()


def test_the_command_fetches_although_headway_is_offline(project: Layout, server: Hub, tmp_path: Path) -> None:
    variables = {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "headway.cli", "encoders", "add", WHAT],
        cwd=project.root,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sha256_of_file(server.folder / "model.safetensors") in done.stdout
    assert folder.read(project.encoders, NAME, REVISION).licence == "apache-2.0"
