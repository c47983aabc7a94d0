"""Deciding in a real registry: one decision and one champion despite kills, concurrent decisions and manual changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from headway.errors import HeadwayError, Unreachable
from headway.promotion import champion as promotion
from headway.promotion import history, rollback
from headway.promotion.champion import DECISION_KIND_TAG, DECISION_TAG, RETIRED_TAG, reconcile, ref_of
from headway.promotion.decision import FORCED, PROMOTION, REFUSAL, RETIREMENT, ROLLBACK
from headway.registry.record_log import LogConflict
from headway.registry.registry import CHALLENGER, CHAMPION, MAX_DESCRIPTION, Registry
from headway.serving import package
from headway.tracking_labels import VIEW
from tests.mortal import Mortal, each_kill
from tests.promotion.conftest import REQUESTER, House


def mortal(house: House, deadline: int) -> House:
    """The registry in a process that dies at a certain call to MLflow."""
    other = house.another()
    other.registry.tracker.client = Mortal(other.registry.tracker.client, deadline)
    return House(house.stock, Registry(other.registry.tracker))


@pytest.fixture
def two(house: House) -> House:
    """Version 1 was promoted, then version 2; version 3 challenges."""
    for which in range(2):
        house.decide(house.version(which))
    house.challenge(house.version(2))
    return house


def promote(house: House) -> None:
    house.decide(house.registry.version("3"))


def refuse(house: House) -> None:
    house.decide(house.registry.version("3"), REFUSAL)


def back(house: House) -> None:
    rollback.roll_back(house.registry, None, "a reason", REQUESTER, {})


def retire(house: House) -> None:
    rollback.retire(house.registry, "a reason", REQUESTER, {})


@pytest.mark.parametrize(
    ("act", "kind", "version", "champion"),
    [
        (promote, PROMOTION, "3", "3"),
        (refuse, REFUSAL, "3", "2"),
        (back, ROLLBACK, "1", "1"),
        (retire, RETIREMENT, "2", None),
    ],
)
def test_killed_before_any_call_and_done_again_it_is_one_record_and_one_champion(
    two: House, act: Callable[[House], None], kind: str, version: str, champion: str | None
) -> None:
    database = two.registry.tracker.layout.tracking / "mlflow.db"
    known = two.kinds()
    deadline = 0
    for deadline in each_kill(database, lambda calls: act(mortal(two, calls))):
        after = two.another()
        reconcile(after.registry)  # what every command begins with
        assert after.kinds() in (known, [*known, (kind, version)]), f"killed before call {deadline}"
        assert after.champion() == (champion if len(after.kinds()) > len(known) else "2")
    assert deadline + 1 > 5, "MLflow was not called through the client that dies"
    assert two.kinds() == [*known, (kind, version)]
    assert two.champion() == champion


@pytest.mark.parametrize(
    ("act", "kind", "version", "champion"), [(back, ROLLBACK, "1", "1"), (retire, RETIREMENT, "2", None)]
)
def test_a_killed_command_that_is_given_again_is_not_carried_out_twice(
    two: House, act: Callable[[House], None], kind: str, version: str, champion: str | None
) -> None:
    """A rollback without a version goes one champion back, not one more each time that it is killed."""
    database = two.registry.tracker.layout.tracking / "mlflow.db"
    known, deadline = two.kinds(), 0
    for deadline in each_kill(database, lambda calls: act(mortal(two, calls))):
        act(two.another())
        assert two.another().kinds() == [*known, (kind, version)], f"killed before call {deadline}"
        assert two.champion() == champion
    assert deadline + 1 > 5


def test_a_real_kill_leaves_what_the_next_process_completes(two: House) -> None:
    """SIGKILL to a process of its own, between the record and the alias."""
    layout = two.registry.tracker.layout
    program = f"""
import os, pathlib, signal
from headway.layout import Layout
from headway.params import Params
from headway.promotion import rollback
from headway.registry.registry import Registry
from headway.tracking import Tracker
from tests.promotion.conftest import REQUESTER
params = Params.model_validate_json({two.stock.params.model_dump_json()!r})
registry = Registry(Tracker(params, Layout(pathlib.Path({str(layout.root)!r}))))
registry.set_champion = lambda version: os.kill(os.getpid(), signal.SIGKILL)
rollback.roll_back(registry, "1", "a reason", REQUESTER, {{}})
"""
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ}, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert two.champion() == "2"
    reconcile(two.another().registry)
    assert two.champion() == "1"
    assert two.kinds()[-1] == (ROLLBACK, "1")


def test_of_two_concurrent_promotions_one_wins_and_the_other_gets_a_conflict(two: House) -> None:
    slow = two.another()
    before = reconcile(slow.registry)
    fourth = two.version(0)
    promote(two)
    with pytest.raises(LogConflict, match=r"^another process wrote record 3 of the history of headway; run again$"):
        slow.decide(fourth, before=before)
    assert two.champion() == "3"
    assert two.kinds()[2:] == [(PROMOTION, "3")]


def test_moving_the_alias_late_does_not_replace_a_newer_champion(two: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process has appended its promotion; before it moves the alias, another one decides and moves it."""
    slow, quick = two.another(), two.another()
    fourth = two.version(0)
    move_alias = slow.registry.set_champion

    def late(version: Any) -> None:
        monkeypatch.setattr(slow.registry, "set_champion", move_alias)
        quick.decide(fourth)
        assert quick.champion() == str(fourth.version)
        move_alias(version)

    monkeypatch.setattr(slow.registry, "set_champion", late)
    promote(slow)
    assert two.kinds()[2:] == [(PROMOTION, "3"), (PROMOTION, "4")]
    assert two.champion() == "4"


def test_a_process_overtaken_before_it_moves_the_alias_leaves_it_alone(two: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process decides while this one reads the history to carry out its own record: a kill could then undo nothing."""
    slow, quick = two.another(), two.another()
    fourth = two.version(0)
    read, move_alias, moved = history.decisions, slow.registry.set_champion, []

    def overtaken(registry: Registry) -> Any:
        records = read(registry)
        if len(records) == 3:
            monkeypatch.setattr(history, "decisions", read)
            quick.decide(fourth)
        return records

    before = reconcile(slow.registry)
    monkeypatch.setattr(history, "decisions", overtaken)
    monkeypatch.setattr(
        slow.registry, "set_champion", lambda version: (moved.append(str(version.version)), move_alias(version))
    )
    slow.decide(slow.registry.version("3"), before=before)
    assert two.kinds()[2:] == [(PROMOTION, "3"), (PROMOTION, "4")]
    assert two.champion() == "4"
    assert moved in ([], ["4"]), "the champion was replaced for a moment"


@pytest.mark.parametrize(("late", "record"), [("1", "record 1"), (None, "record 3")], ids=["a promotion", "a retirement"])
def test_an_alias_that_a_killed_process_moved_late_is_not_blamed_on_a_person_alone(
    two: House, late: str | None, record: str
) -> None:
    """What is left when the kill falls between reading the history and the end of the call that moves the alias."""
    if late is None:
        retire(two)
        promote(two)
    two.registry.set_champion(late and two.registry.version(late))
    with pytest.raises(HeadwayError) as error:
        reconcile(two.registry)
    cause = f"was changed by hand, or by a process that carried out {record} too late and was killed: the history"
    assert cause in str(error.value)
    assert "`headway rollback --to" in str(error.value)


def test_a_full_artifact_store_is_one_line_and_does_not_block_the_promotion(
    two: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, write = two.registry.client, two.registry.client.log_text

    def full(run: str, text: str, file: str) -> None:
        if file.startswith("records/"):
            return write(run, text, file)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(client, "log_text", full)
    with pytest.raises(Unreachable, match=r"^the decision on version 3 of headway cannot be stored \(.*No space left"):
        promote(two)
    assert two.champion() == "3"
    monkeypatch.undo()
    assert reconcile(two.another().registry).completed[0].candidate.version == "3"
    assert two.registry.version("3").tags[DECISION_KIND_TAG] == PROMOTION


def test_a_record_that_cannot_be_stored_is_one_line_and_decides_nothing(two: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_all(*_: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(two.registry.client, "log_text", refuse_all)
    with pytest.raises(Unreachable, match=r"^record 3 of the history of headway cannot be stored \(read-only\)"):
        promote(two)
    assert (two.champion(), len(two.kinds())) == ("2", 2)


def test_the_same_refusal_again_is_one_record_and_another_one_is_two(two: House) -> None:
    refuse(two)
    refuse(two)
    assert two.kinds()[2:] == [(REFUSAL, "3")]
    two.decide(two.registry.version("3"), REFUSAL, policy={"policy": "non_inferior"})
    assert two.kinds()[2:] == [(REFUSAL, "3"), (REFUSAL, "3")]


def test_a_promotion_moves_both_aliases_and_leaves_its_traces(two: House) -> None:
    client, registry = two.registry.client, two.registry
    promote(two)
    aliases = {str(one.version): one.aliases for one in registry.versions()}
    assert aliases == {"1": [], "2": [], "3": [CHAMPION]}
    record = history.decisions(registry)[-1]
    version = registry.version("3")
    assert version.tags[DECISION_KIND_TAG] == PROMOTION
    assert version.tags[DECISION_TAG] == f"runs:/{two.stock.run}/decisions/version-3-3-{record.id[:12]}.json"
    said = "version 3 is promoted\n\n**Accuracy +1.67 points** against the linear baseline"
    assert version.description.startswith(said)
    card = f"#/experiments/{registry.tracker.experiment_id}/runs/{two.stock.run}/artifacts/cards/version-3.md{VIEW}"
    assert f"[model card]({card})" in version.description
    kept = {item.path for item in client.list_artifacts(two.stock.run, "decisions")}
    assert {f"decisions/version-3-3-{record.id[:12]}.{ending}" for ending in ("json", "html")} <= kept


def test_a_decision_on_a_version_whose_run_was_deleted_is_recorded_all_the_same(two: House) -> None:
    two.registry.client.delete_run(two.stock.run)
    promote(two)
    assert two.champion() == "3"
    assert two.registry.version("3").tags[DECISION_KIND_TAG] == PROMOTION


def test_each_rollback_restores_the_champion_before(two: House) -> None:
    promote(two)
    for expected in ("2", "1"):
        back(two)
        assert two.champion() == expected
    with pytest.raises(HeadwayError, match=r"^headway has no previous champion to restore; name a version with --to"):
        back(two)
    record = two.decisions()[-1]
    assert (record.kind, record.reason, record.champion.version) == (ROLLBACK, "a reason", "2")


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("3", r"^version 3 of headway never was champion; `headway promote 3` lets the gate decide on it$"),
        ("9", r"^version 9 of headway never was champion"),
        ("2", r"^version 2 of headway is champion already$"),
    ],
)
def test_only_former_champions_can_be_restored(two: House, to: str, message: str) -> None:
    refuse(two)
    with pytest.raises(HeadwayError, match=message):
        rollback.roll_back(two.registry, to, "a reason", REQUESTER, {})
    assert two.champion() == "2"
    assert len(two.kinds()) == 3


def test_a_former_champion_whose_files_are_gone_is_not_restored(two: House) -> None:
    folder = two.stored(0)
    folder.rename(folder.with_name("lost"))
    try:
        with pytest.raises(
            HeadwayError, match=r"^version 1 was not restored, and nothing has changed: .* cannot be loaded"
        ) as error:
            back(two)
        assert not isinstance(error.value, Unreachable)
    finally:
        folder.with_name("lost").rename(folder)
    assert (two.champion(), len(two.kinds())) == ("2", 2)


def test_a_former_champion_that_was_tampered_with_is_not_restored(two: House) -> None:
    (weights,) = two.stored(0).rglob(package.WEIGHTS)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4] + b"\0\0\0\1")
    try:
        with pytest.raises(HeadwayError, match="the model package was altered"):
            back(two)
    finally:
        weights.write_bytes(whole)
    assert (two.champion(), len(two.kinds())) == ("2", 2)


def test_a_former_champion_that_was_deleted_is_not_restored(two: House) -> None:
    two.registry.client.delete_model_version(two.registry.name, "1")
    with pytest.raises(HeadwayError, match=r"^version 1 of headway cannot be restored: it was deleted from MLflow$"):
        back(two)
    assert two.champion() == "2"


def test_a_deleted_champion_is_reported_with_remedies_that_work(two: House) -> None:
    two.registry.client.delete_model_version(two.registry.name, "2")
    message = (
        r"^the champion of headway was changed by hand: the history \(record 2\) has version 2, which was deleted, the registry "
        r"has none; `headway rollback --reason …` restores .*, `headway retire --reason …` records that there is no champion$"
    )
    with pytest.raises(HeadwayError, match=message):
        reconcile(two.registry)
    back(two)
    assert reconcile(two.registry).champion.version == two.registry.version("1").version
    two.registry.client.delete_model_version(two.registry.name, "1")
    retire(two)
    assert reconcile(two.registry).champion is None


def test_a_manually_moved_alias_is_reported_and_can_be_restored_or_recorded(two: House) -> None:
    move = two.registry.client.set_registered_model_alias
    move(two.registry.name, CHAMPION, "3")
    message = (
        r"\(record 2\) has version 2, the registry has version 3; `headway rollback --to 2 .* `headway promote 3 --force"
    )
    with pytest.raises(HeadwayError, match=message):
        reconcile(two.registry)
    rollback.roll_back(two.registry, "2", "moved by mistake", REQUESTER, {})
    assert reconcile(two.registry).champion.version == two.registry.version("2").version
    move(two.registry.name, CHAMPION, "3")
    two.decide(
        two.registry.version("3"), FORCED, before=reconcile(two.registry, accept_manual_change=True), reason="meant so"
    )
    assert str(reconcile(two.registry).champion.version) == "3"


def test_a_champion_from_before_the_history_is_taken_as_it_is(house: House) -> None:
    first = house.version(0)
    house.registry.client.set_registered_model_alias(house.registry.name, CHAMPION, first.version)
    assert reconcile(house.registry).champion.version == first.version
    house.decide(house.version(1))
    assert house.champion() == "2"
    back(house)
    assert house.champion() == "1"


def test_a_retirement_is_recorded_with_the_version_too(two: House) -> None:
    retire(two)
    assert two.champion() is None
    assert two.kinds()[-1] == (RETIREMENT, "2")
    assert two.registry.version("2").tags[RETIRED_TAG].endswith(": a reason")
    with pytest.raises(HeadwayError, match="model headway has no champion to retire"):
        retire(two)
    with pytest.raises(
        HeadwayError, match=r"^model headway has no champion since version 2 was retired \(a reason\); `make run`"
    ):
        promotion.load_champion(two.registry)


def test_a_retirement_with_a_reason_longer_than_mlflow_takes_is_recorded_whole(two: House) -> None:
    reason = "a reason " * 2000
    rollback.retire(two.registry, reason, REQUESTER, {})
    assert two.decisions()[-1].reason == reason
    kept = two.registry.version("2").tags[RETIRED_TAG]
    assert len(kept) == MAX_DESCRIPTION
    assert reason.startswith(kept.split(": ", 1)[1])


def test_a_number_that_belongs_to_another_model_now_is_not_restored(two: House) -> None:
    """The registered model was deleted and made again: its numbers start again, and an old decision refers to another model."""
    known = ref_of(two.registry.version("1"))
    assert two.registry.find(known.model_copy(update={"model": "another"})) is None
    two.registry.client.set_model_version_tag(two.registry.name, "1", "headway.model", "another")
    with pytest.raises(HeadwayError, match="cannot be restored: it was deleted"):
        back(two)


def test_without_a_champion_the_last_refusal_is_the_reason(house: House) -> None:
    version = house.version(0)
    house.challenge(version)
    house.decide(version, REFUSAL)
    with pytest.raises(HeadwayError, match=r"no champion yet; version 1 was refused: accuracy \+1.67 .*; add rows"):
        promotion.load_champion(house.registry)
    assert house.registry.versions()[0].aliases == [CHALLENGER]
