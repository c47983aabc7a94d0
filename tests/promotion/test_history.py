"""The chain in a real MLflow: append-only, one chain with any number of writers, and every alteration is detected."""

from __future__ import annotations

import sqlite3
import threading
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from mlflow.exceptions import MlflowException

from headway.errors import HeadwayError, Unreachable
from headway.promotion import decision, history
from headway.promotion.champion import commit, reconcile, retry_on_conflict
from headway.promotion.decision import PROMOTION, REFUSAL, Decision, new_decision
from headway.registry.record_log import CARRIED_OUT_TAG, RUN_TAG, LogConflict
from headway.registry.registry import Registry
from tests.promotion.conftest import House, decision_content, ref


def append(registry: Registry, version: int, **more: Any) -> Decision:
    """Append one more decision."""
    before = history.decisions(registry)
    place = {"number": len(before) + 1, "previous": before[-1].id if before else ""}
    record = new_decision(**decision_content(ref(version), None, REFUSAL, **more), **place)
    history.append(registry, record)
    return record


@pytest.fixture
def registry(house: House) -> Registry:
    house.registry.log.create()
    return house.registry


@pytest.fixture
def three(registry: Registry) -> Registry:
    """A history of three records that were carried out, not read yet."""
    for version in (1, 2, 3):
        record = append(registry, version)
    registry.log.mark_carried_out(record.number, record.id)
    return Registry(registry.tracker)


def database(registry: Registry) -> sqlite3.Connection:
    """MLflow's database behind its back, as somebody with the password would open it."""
    return sqlite3.connect(registry.tracker.layout.tracking / "mlflow.db")


def run_of(registry: Registry) -> str:
    model = registry.log.model()
    assert model is not None
    return str(model.tags[RUN_TAG])


def file_of(registry: Registry, record: Decision) -> Path:
    root = registry.client.get_run(run_of(registry)).info.artifact_uri.removeprefix("file://")
    return Path(root) / "records" / f"{record.id}.json"


def test_a_registry_without_decisions_has_an_empty_whole_history(house: House) -> None:
    registry = house.registry
    assert history.examine(registry) == ([], "")
    assert registry.log.model() is None
    registry.log.create()
    assert history.examine(registry) == ([], "")
    assert (registry.log.entries().last, registry.log.entries().carried_out[0]) == ("", 0)


def test_decisions_are_read_in_order(three: Registry) -> None:
    found, problem = history.examine(three)
    assert problem == ""
    assert [record.candidate.version for record in found] == ["1", "2", "3"]
    assert [record.number for record in found] == [1, 2, 3]
    assert three.log.entries().last == found[-1].id
    assert three.log.entries().carried_out[0] == 3


def test_a_place_is_given_once(registry: Registry) -> None:
    first = new_decision(**decision_content(ref(1), None), number=1, previous="")
    second = new_decision(**decision_content(ref(2), None), number=1, previous="")
    history.append(registry, first)
    history.append(registry, first)  # the same again, as after an answer that was lost on the way
    with pytest.raises(LogConflict, match=r"another process wrote record 1 of the history of headway; run again"):
        history.append(Registry(registry.tracker), second)
    assert history.decisions(Registry(registry.tracker)) == [first]


def test_a_store_that_keeps_no_first_value_is_noticed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.client, "log_param", lambda *_: None)
    with pytest.raises(LogConflict):
        append(registry, 1)


def test_many_writers_at_once_lose_no_record_and_leave_one_chain(house: House) -> None:
    house.registry.log.create()
    writers, each = 4, 3
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        registry = house.another().registry
        try:
            for number in range(each):
                content = decision_content(ref(100 * writer + number), None, REFUSAL)
                while True:
                    try:
                        retry_on_conflict(lambda content=content: commit(registry, reconcile(registry), **content))()
                        break
                    except LogConflict:
                        continue
        except BaseException as error:  # noqa: BLE001 - asserted below, in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    found = house.another().decisions()
    expected = {str(100 * writer + number) for writer in range(writers) for number in range(each)}
    assert sorted(record.candidate.version for record in found) == sorted(expected)


def test_a_clock_that_is_moved_back_changes_no_order(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, when in enumerate(["2030-05-01T00:00:00+00:00", "1999-01-01T00:00:00+00:00"], start=1):
        moved = mock.Mock(**{"now.return_value": datetime.fromisoformat(when)})
        monkeypatch.setattr(decision, "datetime", moved)
        append(registry, version)
    found, problem = history.examine(Registry(registry.tracker))
    assert problem == ""
    assert [record.candidate.version for record in found] == ["1", "2"]
    assert found[0].when > found[1].when


def test_an_edited_record_is_named(three: Registry) -> None:
    second = history.decisions(Registry(three.tracker))[1]
    file = file_of(three, second)
    file.write_text(file.read_text().replace('"version": "2"', '"version": "9"'))
    found, problem = history.examine(three)
    assert [record.number for record in found] == [1]
    assert problem.startswith("record 2: altered: its SHA-256 is")


def test_an_edit_that_brings_its_own_hash_breaks_the_chain_after_it(three: Registry) -> None:
    """Somebody writes a whole new record 2 into MLflow's database; record 3 still names the old one."""
    first, second, _ = history.decisions(Registry(three.tracker))
    forged = new_decision(**decision_content(ref(9), None, PROMOTION), number=2, previous=first.id)
    file_of(three, second).with_name(f"{forged.id}.json").write_text(forged.as_json())
    with database(three) as open_database:
        open_database.execute("UPDATE params SET value = ? WHERE value = ?", (forged.id, second.id))
    found, problem = history.examine(three)
    assert [record.number for record in found] == [1, 2]
    assert problem == "record 3: it does not name the id of the record before it"


def test_a_deleted_record_is_named(three: Registry) -> None:
    with database(three) as open_database:
        open_database.execute("DELETE FROM params WHERE key = '000002' AND run_uuid = ?", (run_of(three),))
    assert history.examine(three)[1] == "record 2: missing"


def test_a_lost_file_is_named(three: Registry) -> None:
    file_of(three, history.decisions(Registry(three.tracker))[0]).unlink()
    assert history.examine(three) == ([], "record 1: its file is missing")


def test_records_in_another_order_are_named(three: Registry) -> None:
    _, second, third = history.decisions(Registry(three.tracker))
    with database(three) as open_database:
        for key, value in (("000002", third.id), ("000003", second.id)):
            open_database.execute("UPDATE params SET value = ? WHERE key = ?", (value, key))
    assert history.examine(three)[1] == "record 2: it does not name the id of the record before it"


def test_an_end_that_was_cut_off_is_named(three: Registry) -> None:
    with database(three) as open_database:
        open_database.execute("DELETE FROM params WHERE key = '000003'")
    found, problem = history.examine(three)
    assert len(found) == 2
    assert problem.startswith("record 3: it was carried out and is missing")


def test_a_history_that_was_replaced_is_named(three: Registry) -> None:
    """Another run with a chain that is whole in itself: the registered model remembers what was carried out."""
    client = three.client
    other = client.create_run(three.tracker.experiment_id)
    client.set_registered_model_tag(three.name, RUN_TAG, other.info.run_id)
    for version in (7, 8, 9):
        forging = Registry(three.tracker)
        before = history.examine(forging)[0]
        place = {"number": len(before) + 1, "previous": before[-1].id if before else ""}
        history.append(forging, new_decision(**decision_content(ref(version), None), **place))
    assert history.examine(three)[1].startswith("record 3: it was carried out and is missing")


def test_a_history_whose_run_is_no_longer_named_is_broken(three: Registry) -> None:
    three.client.delete_registered_model_tag(three.name, RUN_TAG)
    found, problem = history.examine(three)
    assert found == []
    assert problem.startswith("record 3: it was carried out and is missing")


def test_a_new_history_can_be_begun_as_the_error_says(three: Registry) -> None:
    file_of(three, history.decisions(Registry(three.tracker))[0]).unlink()
    with pytest.raises(HeadwayError, match=r"choose another registry\.model_name in params\.yaml"):
        history.decisions(three)
    before = three.log.entries()
    three.tracker.params = three.tracker.params.override({"registry.model_name": "another"})
    another = Registry(three.tracker)
    another.log.create()
    append(another, 4)
    found, problem = history.examine(Registry(three.tracker))
    assert ([record.candidate.version for record in found], problem) == (["4"], "")
    assert three.log.entries() == before, "the broken history, which can still be restored, was changed"


def test_a_broken_history_is_one_line_with_a_remedy_and_nothing_is_decided_on_it(three: Registry, house: House) -> None:
    file_of(three, history.decisions(Registry(three.tracker))[0]).unlink()
    message = r"^the history of headway is broken: record 1: its file is missing; see `headway history --verify`; restore "
    for asked in (lambda: history.decisions(three), lambda: reconcile(house.another().registry)):
        with pytest.raises(HeadwayError, match=message) as error:
            asked()
        assert "\n" not in str(error.value)


def test_a_deleted_run_of_the_history_is_restored_with_the_next_record(three: Registry) -> None:
    three.client.delete_run(run_of(three))
    append(three, 4)
    found, problem = history.examine(Registry(three.tracker))
    assert (len(found), problem) == (4, "")


def test_a_permanently_deleted_run_is_reported(three: Registry) -> None:
    three.client.set_registered_model_tag(three.name, RUN_TAG, "0" * 32)
    assert history.examine(three) == ([], f"its run {'0' * 32} is gone")


def test_a_store_that_does_not_answer_has_lost_nothing(three: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ConnectionError("refused by http://user:secret@127.0.0.1:9")

    monkeypatch.setattr(three.client, "download_artifacts", fail)
    with pytest.raises(
        Unreachable, match=r"^the history of headway cannot be fetched \(refused.*\); check that MLflow"
    ) as error:
        history.examine(three)
    assert "secret" not in str(error.value)


def test_a_registry_from_before_there_were_histories_gets_one(house: House) -> None:
    client, name = house.registry.client, house.registry.name
    client.create_registered_model(name)
    house.registry.log.create()
    append(house.registry, 1)
    assert len(house.another().decisions()) == 1


def test_the_second_process_to_create_the_log_uses_the_first_ones_run(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both found no registered model; the other one was quicker to make it."""
    slow, quick = house.another().registry, house.another().registry
    make = slow.log._empty_run

    def late() -> str:
        run = make()
        quick.client.set_tag(run, "headway.history_of", "not to be found")  # the two saw neither of each other's runs
        quick.log.create()
        return run

    monkeypatch.setattr(slow.log, "_empty_run", late)
    slow.log.create()
    assert run_of(slow) == run_of(quick)
    append(slow, 1)
    assert len(history.decisions(quick)) == 1


@pytest.mark.parametrize("decided", [False, True], ids=["begun", "begun and decided"])
def test_of_two_processes_that_give_an_old_model_a_log_the_second_uses_the_first_ones(
    house: House, monkeypatch: pytest.MonkeyPatch, decided: bool
) -> None:
    """Both found a registered model without a history, and no run for one."""
    slow, quick = house.another().registry, house.another().registry
    slow.client.create_registered_model(slow.name)
    make = slow.client.create_run

    def late(*words: Any, **more: Any) -> Any:
        monkeypatch.undo()
        quick.log.create()
        if decided:
            append(quick, 1)
        return make(*words, **more)

    monkeypatch.setattr(slow.client, "create_run", late)
    slow.log.create()
    append(slow, 2)
    assert run_of(slow) == run_of(quick)
    assert [record.candidate.version for record in history.decisions(quick)] == (["1", "2"] if decided else ["2"])


def test_a_record_in_a_history_that_another_process_put_aside_decides_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one began its own at the same moment, and its tag came last."""
    write = registry.client.log_param

    def overtaken(*words: Any) -> None:
        write(*words)
        monkeypatch.undo()
        other = registry.client.create_run(registry.tracker.experiment_id).info.run_id
        registry.client.set_registered_model_tag(registry.name, RUN_TAG, other)

    monkeypatch.setattr(registry.client, "log_param", overtaken)
    with pytest.raises(LogConflict, match=r"^another process created the history of headway at the same time; run again$"):
        append(registry, 1)
    append(registry, 2)
    assert [record.candidate.version for record in history.decisions(registry)] == ["2"]


def test_a_run_that_a_kill_left_empty_is_used(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = house.registry

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(registry.client, "create_registered_model", die)
    with pytest.raises(KeyboardInterrupt):
        registry.log.create()
    monkeypatch.undo()
    registry.log.create()
    wanted = "tags.`headway.kind` = 'history'"
    experiments = [experiment.experiment_id for experiment in registry.client.search_experiments()]
    assert len(registry.client.search_runs(experiments, wanted)) == 1


def test_a_param_that_is_no_place_of_a_record_is_none(three: Registry) -> None:
    for key in ("4", "\N{SUPERSCRIPT TWO}", "note"):
        three.client.log_param(run_of(three), key, "a person's")
    found, problem = history.examine(three)
    assert (len(found), problem) == (3, "")


def test_the_tag_of_what_was_carried_out_names_number_and_id(three: Registry) -> None:
    model = three.log.model()
    assert model is not None
    assert model.tags[CARRIED_OUT_TAG] == f"3 {three.log.entries().last}"


def test_mlflow_itself_never_changes_a_record(three: Registry) -> None:
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        three.client.log_param(run_of(three), "000001", "forged")
