"""Lineage both ways, in a real registry: version, commit and run lead to one another."""

from __future__ import annotations

import pytest

from headway.errors import HeadwayError
from headway.promotion.decision import REFUSAL
from headway.promotion.lineage_report import trace_back
from tests.promotion.conftest import LINEAGE, House

COMMIT = LINEAGE["headway.git_commit"]


@pytest.fixture
def two(house: House) -> House:
    """Version 1 is champion, version 2, of another commit, was refused."""
    house.decide(house.version(0))
    second = house.version(1)
    house.registry.client.set_model_version_tag(
        house.registry.name, second.version, "headway.git_commit", f"{'9' * 40}+changes"
    )
    house.decide(house.registry.version("2"), REFUSAL)
    return house


def traced(house: House, what: str) -> list[str]:
    return [" ".join(line.split()) for line in trace_back(house.registry, house.registry.tracker.layout, what)]


def test_a_version_leads_to_its_run_commit_lock_data_and_decisions(two: House) -> None:
    first, *lines = traced(two, "1")
    records = two.decisions()
    parent = two.registry.client.get_run(two.stock.run).data.tags["mlflow.parentRunId"]
    assert first == "version 1 of headway, champion"
    assert lines[1:] == [
        f"run {two.stock.run} (train · rotten_tomatoes, FINISHED)",
        f"pipeline run {parent}",
        "search 0 trials below that run",
        f"git commit {COMMIT}",
        f"dvc.lock {LINEAGE['headway.dvc_lock']}",
        f"data {LINEAGE['headway.data_fingerprint']}",
        "params absent",
        f"decision 1 {records[0].when}, promotion, {records[0].id}",
    ]


@pytest.mark.parametrize("digits", [40, 7])
def test_a_commit_or_its_beginning_leads_to_the_versions_that_came_of_it(two: House, digits: int) -> None:
    lines = traced(two, COMMIT[:digits])
    assert lines[0].startswith(f"commit {COMMIT}: ")
    assert [line for line in lines if line.startswith("version")] == ["version 1 of headway, champion"]


def test_a_commit_whose_files_were_changed_is_found_too(two: House) -> None:
    lines = traced(two, "9" * 40)
    assert [line for line in lines if line.startswith("version")] == ["version 2 of headway"]
    assert f"git commit {'9' * 40}+changes" in lines


@pytest.mark.parametrize("which", ["training", "pipeline"])
def test_a_run_leads_to_the_versions_that_came_of_it(two: House, which: str) -> None:
    training = two.registry.client.get_run(two.stock.run)
    run = two.stock.run if which == "training" else training.data.tags["mlflow.parentRunId"]
    lines = traced(two, run)
    assert lines[0].startswith(f"run {run}: ")
    assert [line for line in lines if line.startswith("version")] == [
        "version 1 of headway, champion",
        "version 2 of headway",
    ]


def test_a_run_that_led_to_no_version_says_so(two: House) -> None:
    other = two.registry.client.create_run(two.registry.tracker.experiment_id, run_name="alone")
    lines = traced(two, other.info.run_id)
    assert lines[0].startswith(f"run {other.info.run_id}: alone")
    assert lines[-1] == "no version of headway was made from it"


@pytest.mark.parametrize("what", ["7", "nonsense", "--all", "abcdef0", ""])
def test_an_unknown_name_is_one_line(two: House, what: str) -> None:
    with pytest.raises(HeadwayError, match="neither a version of headway, nor a run of experiment headway") as error:
        traced(two, what)
    assert "\n" not in str(error.value)


def test_an_ambiguous_name_is_one_line_that_names_both(two: House) -> None:
    client = two.registry.client
    other = "a" * 39 + "b"
    client.set_model_version_tag(two.registry.name, "2", "headway.git_commit", other)
    with pytest.raises(
        HeadwayError, match=rf"^aaaaaaaa: ambiguous, commit {COMMIT} or commit {other}; give more characters$"
    ):
        traced(two, "a" * 8)


def test_a_deleted_run_is_reported(two: House) -> None:
    two.registry.client.delete_run(two.stock.run)
    assert f"run {two.stock.run} (deleted, or of another experiment)" in traced(two, "1")
