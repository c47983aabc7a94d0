"""The commands about the champion as a person types them: what they print, and their errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import Result
from rich.cells import cell_len
from typer.testing import CliRunner

from headway.cli import app
from headway.errors import HeadwayError
from headway.promotion.decision import APPROVAL, DECLINE, FORCED, REFUSAL, REQUEST, RETIREMENT, ROLLBACK
from tests.promotion.conftest import CHECK, House


@pytest.fixture
def two(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """In the folder of a project: version 1 was promoted, then 2 by force; 3 was refused."""
    monkeypatch.chdir(house.registry.tracker.layout.root)
    monkeypatch.setenv("COLUMNS", "200")
    against_champion = {**CHECK, "name": "better_than_champion", "details": {"significance": 0.0109}}
    house.decide(house.version(0))
    house.decide(house.version(1), FORCED, reason="a demonstration")
    house.decide(house.version(2), REFUSAL, checks=[against_champion])
    return house


def headway(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def error_of(*words: str) -> str:
    """The one line of a command that goes wrong."""
    done = headway(*words)
    assert isinstance(done.exception, HeadwayError), done.output
    assert "\n" not in str(done.exception)
    return str(done.exception)


def cells(printed: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line.startswith("│")]


def test_the_history_lists_every_decision_the_last_one_first(two: House) -> None:
    rows = cells(headway("history").output)
    assert [(row[0], row[2], row[3]) for row in rows] == [
        ("3", "refusal", "3"),
        ("2", "forced promotion", "2"),
        ("1", "promotion", "1"),
    ]
    assert rows[0][4] == "+1.67 points (97.82%: +0.77 to +2.56) over the champion"
    assert rows[2][4] == "+1.67 points (+0.77 to +2.56) over the linear baseline"
    assert rows[1][-1] == "a demonstration"
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", row[1]) for row in rows)
    assert all("@" in row[5] for row in rows)


@pytest.mark.parametrize("width", [80, 40, 30])
def test_a_narrow_history_has_every_decision_and_cuts_no_number(
    two: House, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    reason = "too many complaints about refunds were labelled as praise, see https://example.org/incidents/2026-11-29"
    two.decide(two.version(1), ROLLBACK, reason=reason)
    two.decide(two.version(1), RETIREMENT, reason="退货投诉太多，模型把它们标成了好评")
    monkeypatch.setenv("COLUMNS", str(width))
    printed = headway("history").output
    lines = [line.rstrip() for line in printed.splitlines()]
    assert max(map(cell_len, lines)) <= width
    assert [line.split(", ")[0] for line in lines if line[0] != " "] == [
        "5  retirement",
        "4  rollback",
        "3  refusal",
        "2  forced promotion",
        "1  promotion",
    ]
    words = " ".join(printed.split())
    assert "+1.67 points (97.82%: +0.77 to +2.56) over the champion" in words
    assert "too many complaints about refunds were labelled as praise" in words
    if width > 60:
        assert reason in words
    assert re.search(r"1 promotion, version 1 \d{4}-\d\d-\d\d \d\d:\d\d ", words)


def test_a_whole_history_is_verified_and_a_broken_one_names_the_first_broken_record(two: House) -> None:
    records = two.decisions()
    assert headway("history", "--verify").output == f"3 decisions, none altered, the last one is {records[-1].id}\n"
    (file,) = (two.stock.layout.tracking / "artifacts").rglob(f"{records[1].id}.json")
    file.write_text(file.read_text().replace("a demonstration", "a good reason"))
    line = error_of("history", "--verify")
    assert line.startswith("the history of headway is broken: record 2: altered: its SHA-256 is ")
    assert line.endswith("; 1 earlier decision unaltered")
    assert error_of("history") == line
    assert len(cells(headway("history").output)) == 1, "what is whole is still shown"


def test_an_empty_history_says_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house.registry.tracker.layout.root)
    assert headway("history").output == "no decisions yet\n"
    assert headway("history", "--verify").output == "0 decisions, none altered\n"


def test_a_rollback_prints_the_champion_and_the_page(two: House) -> None:
    done = headway("rollback", "--reason", "too many complaints")
    first, page = done.output.splitlines()
    assert first == "version 1 is champion again"
    assert "too many complaints" in Path(page.removeprefix("page: ")).read_text(encoding="utf-8")
    assert two.champion() == "1"
    record = two.another().decisions()[-1]
    assert (record.reason, record.requested_by.command) == ("too many complaints", "headway rollback")
    assert headway("rollback", "--to", "2", "--reason", "the other way").output.startswith("version 2 is champion again")


@pytest.mark.parametrize(
    ("force", "changed", "message"),
    [
        (False, {"prepare", "train"}, "changed since prepare ran, so"),
        (False, {"ingest", "baseline"}, "changed since baseline, ingest ran, so"),
        (True, {"prepare", "baseline"}, "changed since prepare ran, so"),
        (True, {"baseline"}, "has no version 9"),
        (False, {"tune", "train", "evaluate"}, "has no version 9"),
        (False, set(), "has no version 9"),
        (False, None, "because `dvc status` fails"),
        (True, None, "has no version 9"),
    ],
)
def test_nothing_is_promoted_on_rows_that_are_older_than_the_params(
    two: House, monkeypatch: pytest.MonkeyPatch, force: bool, changed: set[str] | None, message: str
) -> None:
    monkeypatch.setattr("flows.execution.changed_stages", lambda _: changed)
    line = error_of("promote", "9", *(("--force", "--reason", "x") if force else ()))
    assert message in line


def test_a_retirement_is_in_the_history(two: House) -> None:
    assert headway("retire", "--reason", "lost").output.startswith(
        "version 2 is no longer champion; the next run can promote another model\n"
    )
    assert two.champion() is None
    assert two.another().kinds()[-1] == ("retirement", "2")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("rollback", "--reason", " "), "the reason is empty; state one"),
        (("retire", "--reason", ""), "the reason is empty; state one"),
        (("promote", "3", "--force"), "give both --force and --reason"),
        (("promote", "3", "--reason", "why not"), "give both --force and --reason"),
        (("promote", "9", "--force", "--reason", "x"), "headway has no version 9"),
        (("rollback", "--to", "3", "--reason", "x"), "version 3 of headway never was champion; `headway promote 3`"),
        (("card", "9"), "version 9 has no decision with numbers"),
        (("lineage", "9"), "9: neither a version of headway"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(two: House, words: tuple[str, ...], line: str) -> None:
    before = two.another().kinds()
    assert line in error_of(*words)
    assert two.another().kinds() == before
    assert two.champion() == "2"


@pytest.mark.parametrize(
    ("verb", "kind", "line", "champion"),
    [
        ("approve", APPROVAL, "version 3 is champion", "3"),
        ("decline", DECLINE, "version 3 is declined; version 2 stays champion", "2"),
    ],
)
def test_a_person_answers_for_a_version_that_waits(
    two: House, monkeypatch: pytest.MonkeyPatch, verb: str, kind: str, line: str, champion: str
) -> None:
    two.decide(two.registry.version("3"), REQUEST)
    assert "the reason is empty" in error_of(verb, "3", "--reason", " ")
    assert "version 2 of headway does not wait for approval" in error_of(verb, "2", "--reason", "tried")
    assert cells(headway("history").output)[0][2] == "approval request"
    killed_after_its_decision(monkeypatch, verb, "3", "--reason", "tried")
    first, page = headway(verb, "3", "--reason", "tried").output.splitlines()
    assert first == line
    assert "tried" in Path(page.removeprefix("page: ")).read_text(encoding="utf-8")
    assert two.another().kinds()[3:] == [(REQUEST, "3"), (kind, "3")]
    assert two.champion() == champion
    record = two.decisions()[-1]
    assert (record.reason, record.requested_by.command) == ("tried", f"headway {verb} 3")
    assert headway("history", "--verify").output.startswith("5 decisions, none altered")


def test_the_card_is_printed_or_written(two: House, tmp_path: Path) -> None:
    printed = headway("card", "3").output
    assert printed.startswith("# Model card: headway, version 3\n")
    out = tmp_path / "new" / "card.md"
    assert headway("card", "3", "--out", str(out)).output == f"card: {out}\n"
    assert out.read_text(encoding="utf-8") == printed


def test_a_card_in_a_file_that_ends_in_html_is_a_page(two: House, tmp_path: Path) -> None:
    assert headway("card", "3", "--out", str(tmp_path / "card.html")).exit_code == 0
    assert (tmp_path / "card.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_card_that_cannot_be_written_is_one_line(two: House, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    assert "cannot write the card: " in error_of("card", "3", "--out", str(tmp_path / "a file" / "card.md"))


def test_lineage_is_printed(two: House) -> None:
    lines = headway("lineage", "2").output.splitlines()
    assert lines[0] == "version 2 of headway, champion"
    assert any(line.split()[:2] == ["decision", "2"] for line in lines)


def killed_after_its_decision(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """A command that comes as far as its decision."""

    def killed(*_: object) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("headway.promotion.commands.write_pages", killed)
        headway(*words)


@pytest.mark.parametrize("verb", ["rollback", "retire"])
def test_a_command_that_is_killed_after_its_decision_and_given_again_decides_nothing_more(
    two: House, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    killed_after_its_decision(monkeypatch, verb, "--reason", "complaints")
    decided = two.another().kinds()
    assert len(decided) == 4
    assert headway(verb, "--reason", "complaints").exit_code == 0
    assert two.another().kinds() == decided
    # It was reported by now, so the same words are a new command, without a champion to change.
    assert "no " in error_of(verb, "--reason", "complaints")
    assert two.another().kinds() == decided
    assert not (two.registry.tracker.layout.scratch / "by-hand.json").exists()


def test_another_command_after_one_that_was_killed_is_carried_out(two: House, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_after_its_decision(monkeypatch, "rollback", "--reason", "complaints")
    assert headway("retire", "--reason", "complaints").exit_code == 0
    assert [kind for kind, _ in two.another().kinds()[3:]] == [ROLLBACK, RETIREMENT]


@pytest.mark.parametrize("number", ["01", " 1", "+1", "1.0", "99999999999999999999", "-1"])
def test_a_version_is_named_by_its_plain_number(two: House, number: str) -> None:
    assert two.registry.version(number) is None
