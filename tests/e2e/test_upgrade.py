"""A project that version 0.1.0 made is opened by this one: champion, history and files work, and what does not says what to do.

The tests share one project, in their order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

import headway
from headway import cli
from headway.layout import Layout
from headway.promotion import history
from headway.promotion.decision import FORCED, PROMOTION, REFUSAL, ROLLBACK, Decision
from headway.registry.registry import Registry
from headway.serving.http.settings import ServeSettings
from tests.e2e.conftest import Clone
from tests.old_project import unpack, upgrade
from tests.real_texts import english

pytestmark = pytest.mark.e2e
TEXTS = ["a charming , funny and moving film", "dull from start to end"]
#: Of the decisions that 0.1.0 recorded: promoted, refused, forced.
KINDS = [PROMOTION, REFUSAL, FORCED]


@pytest.fixture(scope="module")
def upgraded(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The project after the merge, with a prediction log."""
    root = tmp_path_factory.mktemp("upgrade") / "moved here"
    return upgrade(repository, root, **{'\n    folder: "" ': '\n    folder: "log" '})


@pytest.fixture(autouse=True)
def inside(upgraded: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(upgraded.root)


def run(*words: str, status: int = 0) -> str:
    """What a command prints, in this process."""
    done = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.stdout


def decisions(layout: Layout) -> list[Decision]:
    return history.decisions(Registry(Clone(layout.root).tracker()))


def test_doctor_lists_what_the_old_params_lack_and_finds_the_rest_whole(
    upgraded: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = upgraded.params.read_text(encoding="utf-8")
    upgraded.params.write_text(unpack(tmp_path).params.read_text(encoding="utf-8"), encoding="utf-8")
    try:
        said = run("doctor", status=1)
    finally:
        upgraded.params.write_text(merged, encoding="utf-8")
    assert re.search(r"^fault +params\.yaml: \d+ settings missing, as in a file of an older version", said, re.MULTILINE)
    assert "docs/howto/upgrade.md" in said
    assert re.search(r"model\.d_feedforward was renamed\n +→ rename it to model\.dim_feedforward$", said, re.MULTILINE)
    assert "ngrams.scaling" in said
    said = run("doctor")
    assert re.search(r"^ok +champion: version 2 of headway$", said, re.MULTILINE)
    assert re.search(r"^ok +history: 3 decisions", said, re.MULTILINE)


def test_no_decision_is_altered_and_the_champion_is_known(upgraded: Layout) -> None:
    assert run("history", "--verify").startswith("3 decisions, none altered")
    assert "the owner wants the second seed" in run("history")
    found = decisions(upgraded)
    assert [one.kind for one in found] == KINDS
    assert {one.record_version for one in found} == {2}
    said = run("status")
    assert "champion: version 2 of headway" in said
    assert "decision 3, " in said


def test_the_old_champion_labels_texts() -> None:
    said = run("predict", "--text", TEXTS[0], "--text", TEXTS[1])
    assert len(said.splitlines()) >= 2
    model = headway.load("champion")
    assert sorted(model.classes) == ["negative", "positive"]
    assert run("card", "2").startswith("# Model card: headway, version 2")


@pytest.fixture
def served() -> Iterator[TestClient]:
    """The service of the champion, in this process."""
    opened = cli.serve.open_service("champion", "", "", 3600.0, "", ServeSettings())
    with TestClient(opened.app, base_url="http://localhost:8000") as client:
        yield client
    opened.close()


def test_the_old_champion_is_served_and_its_answers_are_logged(served: TestClient, upgraded: Layout) -> None:
    texts, _ = english(400)
    for start in range(0, len(texts), 200):
        answer = served.post("/predict", json={"texts": texts[start : start + 200]})
        assert answer.status_code == 200
        assert answer.json()["model"]["version"] == "2"
    status = served.get("/status").json()
    assert status["model"]["version"] == "2"
    assert status["requests"]["texts"] == len(texts)
    assert served.post("/explain", json={"text": TEXTS[0]}).status_code == 200


def test_the_old_champion_is_monitored(upgraded: Layout) -> None:
    said = run("monitor")
    assert said.splitlines()[0].startswith(("OK: version 2", "WARNING: version 2"))
    record = json.loads((upgraded.root / "log" / "monitor" / "record.json").read_text(encoding="utf-8"))
    assert record["version"] == "2"
    assert record["answers"] == 400
    assert "monitoring: " in run("status")


def test_the_former_champion_is_restored(upgraded: Layout) -> None:
    assert "version 1 is champion again" in run("rollback", "--reason", "to be tried")
    assert "version 2 is champion again" in run("rollback", "--to", "2", "--reason", "to go on")
    found = decisions(upgraded)
    assert [one.kind for one in found] == [*KINDS, ROLLBACK, ROLLBACK]
    assert [one.record_version for one in found] == [2, 2, 2, 3, 3]
    assert run("history", "--verify").startswith("5 decisions, none altered")


@pytest.mark.slow
def test_a_new_candidate_is_compared_with_the_old_champion(upgraded: Layout) -> None:
    clone = Clone(upgraded.root)
    done = clone.run("headway", "run")
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-3000:]
    last = decisions(upgraded)[-1]
    assert last.candidate.version == "3"
    assert last.champion is not None
    assert last.champion.version == "2"
    assert {check.name for check in last.checks} >= {"better_than_champion", "no_worse_than_baseline"}
    assert last.accuracy_gain is not None
    assert last.accuracy_gain[0] == "champion"
    assert clone.run("headway", "history", "--verify").returncode == 0
    again = clone.run("headway", "run")
    assert again.returncode == 0, again.stdout[-3000:]
    assert len(decisions(upgraded)) == 6
