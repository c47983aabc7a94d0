"""Notifications of decisions: what they say, where they lead, and that a decision that still holds is not sent again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headway.cli import app
from headway.notifications import EVENTS, VARIABLE
from headway.promotion.announcement import EVENT_OF, announce, line_of
from headway.promotion.decision import APPROVAL, DONE, FORCED, PROMOTION, REFUSAL, REQUEST, RETIREMENT, ROLLBACK
from headway.promotion.project import Project
from headway.tracking_labels import VIEW
from tests.mail_and_web import Inbox, refused_port, web_server
from tests.promotion.conftest import CHECK, House, decision_content, ref, story


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    """The webhook that notifications go to."""
    file = tmp_path / "notify.urls"
    file.touch(mode=0o600)
    monkeypatch.setenv(VARIABLE, str(file))
    with web_server() as inbox:
        file.write_text(f"json://127.0.0.1:{inbox.port}")
        yield inbox


@pytest.fixture
def two(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """In the folder of a project in which version 1 was promoted, then version 2."""
    monkeypatch.chdir(house.registry.tracker.layout.root)
    for which in range(2):
        house.decide(house.version(which))
    return house


def project_of(house: House) -> Project:
    return Project(house.stock.params, house.registry.tracker.layout, house.registry)


def test_every_kind_of_decision_is_an_event() -> None:
    assert EVENT_OF.keys() == DONE.keys()
    assert set(EVENT_OF.values()) < set(EVENTS)


def test_a_message_says_what_was_decided_and_why() -> None:
    failed = {**CHECK, "passed": False}
    refused = decision_content(ref(3), None, REFUSAL, checks=[failed, {**failed, "name": "latency"}])
    decisions = story((PROMOTION, 1), (PROMOTION, 2), (ROLLBACK, 1))
    assert line_of(decisions[0]) == "version 1 is promoted: accuracy +1.67 points against the linear baseline"
    assert line_of(decisions[0].model_copy(update={"kind": FORCED, "reason": "agreed", "checks": ()})) == (
        "version 1 is promoted by force: agreed"
    )
    assert line_of(story((PROMOTION, 1), (REQUEST, 2))[1]) == (
        "version 2 passed the gate and waits for approval: accuracy +1.67 points against the linear baseline; answer with "
        '`headway approve 2 --reason "…"` or `headway decline 2 --reason "…"`'
    )
    approved = decisions[0].model_copy(update={"kind": APPROVAL, "reason": "tried"})
    assert line_of(approved) == (
        "version 1 is approved and promoted: tried; accuracy +1.67 points against the linear baseline"
    )
    refusal = decisions[0].model_validate({**decisions[0].model_dump(), **refused})
    assert line_of(refusal) == (
        "version 3 is refused: no_worse_than_baseline: accuracy +1.67 points against the linear baseline; 1 more failed"
    )


def test_the_link_leads_to_the_decisions_page_on_the_mlflow_server(
    two: House, web: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, decision = two.registry.tracker, two.decisions()[-1]
    monkeypatch.setattr(tracker, "own", False)
    monkeypatch.setattr(tracker, "uri", "https://user:secret@mlflow.example")
    announce(project_of(two), decision, 1, pytest.fail)
    ((_, body),) = web.arrived
    page = f"decisions/version-2-2-{decision.id[:12]}.html"
    kept = {item.path for item in two.registry.client.list_artifacts(two.stock.run, "decisions")}
    assert page in kept
    run = f"#/experiments/{tracker.experiment_id}/runs/{two.stock.run}"
    assert body["message"].splitlines()[1] == f"https://mlflow.example/{run}/artifacts/{page}{VIEW}"


@pytest.mark.parametrize("is_local", [True, False], ids=["no server", "a run that was deleted"])
def test_without_a_page_in_mlflow_the_link_is_a_file(
    two: House, web: Inbox, monkeypatch: pytest.MonkeyPatch, is_local: bool
) -> None:
    if not is_local:
        monkeypatch.setattr(two.registry.tracker, "own", False)
        monkeypatch.setattr(two.registry.tracker, "uri", "https://mlflow.example")
        two.registry.client.delete_run(two.stock.run)
    announce(project_of(two), two.decisions()[-1], 1, pytest.fail)
    ((_, body),) = web.arrived
    assert body["message"].endswith(f": {two.registry.tracker.layout.page('decision')}")


def test_a_decision_that_was_carried_out_before_is_not_announced(two: House, web: Inbox) -> None:
    two.decide(two.version(2), REFUSAL)
    before, _ = two.registry.log.entries().carried_out
    again = two.decide(two.registry.version("3"), REFUSAL)
    announce(project_of(two), again, before, pytest.fail)
    assert web.arrived == []
    other = two.decide(two.registry.version("3"), REFUSAL, policy={"policy": "non_inferior"})
    announce(project_of(two), other, before, pytest.fail)
    assert [body["title"] for _, body in web.arrived] == ["Headway: refusal in project"]


@pytest.mark.parametrize(("verb", "kind"), [("rollback", ROLLBACK), ("retire", RETIREMENT)])
def test_a_command_announces_its_decision_once_it_is_recorded(two: House, web: Inbox, verb: str, kind: str) -> None:
    done = CliRunner().invoke(app, [verb, "--reason", "too many complaints"])
    assert done.exit_code == 0
    assert two.another().kinds()[-1][0] == kind
    ((_, body),) = web.arrived
    assert body["title"] == f"Headway: {EVENT_OF[kind]} in project"
    assert "too many complaints" in body["message"]
    assert CliRunner().invoke(app, [verb, "--reason", " "]).exit_code != 0
    assert len(web.arrived) == 1


def test_a_notifier_that_fails_is_one_line_and_the_command_succeeds(two: House, tmp_path: Path, web: Inbox) -> None:
    (tmp_path / "notify.urls").write_text(f"json://127.0.0.1:{refused_port()}")
    done = CliRunner().invoke(app, ["rollback", "--reason", "too many complaints"])
    assert done.exit_code == 0
    assert two.champion() == "1"
    (line,) = done.stderr.splitlines()
    assert line.startswith("headway: notification of this rollback: line 1 (json://127.0.0.1:")
