"""Standard output and error: whatever their encoding, reader or terminal, no traceback, no control character, no credential."""

import csv
import io
import json
import os
import pty
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from headway.cli import data as data_commands
from headway.cli import registry, streams
from headway.cli.streams import GuardedStream
from headway.data.diff import LabelChange
from headway.files import write_json
from headway.foreign_text import one_line
from headway.layout import Layout
from headway.promotion.decision import REFUSAL, new_decision
from headway.search.results import FinishedSearch, TrialResult, summary
from tests.promotion.conftest import decision_content, ref

COMMANDS = {
    "help": ["--help"],
    "a command's help": ["promote", "--help"],
    "params": ["params"],
    "schema": ["params", "--schema"],
    "study": ["study"],
    "a mistake": ["data", "diff", "nö\x1b]0;x\x07\u202e"],
    "an unknown option": ["card", "--nö\x1b]0;x\x07"],
    "no project": ["-h"],
}
PLACES = {
    "ASCII": {"PYTHONIOENCODING": "ascii"},
    "Latin": {"PYTHONIOENCODING": "latin-1:strict"},
    "C": {"LANG": "C", "LC_ALL": "C"},
    "no UTF-8 mode": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "no colour": {"NO_COLOR": "1", "TERM": "dumb"},
    "narrow": {"COLUMNS": "40", "TERM": "xterm-256color", "FORCE_COLOR": "1"},
}


def environment(**changes: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHONIO", "PYTHONUTF8"))}
    return {**kept, **changes}


@pytest.fixture(scope="module")
def searched(tmp_path_factory, params, repository: Path) -> Layout:
    """A project with letters outside ASCII in its params, and a search with a hostile reason, so that all output is foreign."""
    root = tmp_path_factory.mktemp("searched")
    layout = Layout(root)
    text = (repository / "params.yaml").read_text(encoding="utf-8")
    layout.params.write_text(text.replace('intended_use: ""', 'intended_use: "Für Kritiken · 影评"'), encoding="utf-8")
    (root / "dvc.yaml").write_bytes((repository / "dvc.yaml").read_bytes())
    point = {"model.d_model": 64}
    trials = [
        TrialResult(0, "complete", 0.8, 0.0, point, [{"epoch": 1.0, "joint_validation_accuracy": 0.8}], "", 100),
        TrialResult(1, "failed", 0.0, 0.0, point, [], "Fehler — 失败\x1b]0;x\x07\n3 trials, none failed", 100),
    ]
    write_json(layout.metrics("search"), summary(FinishedSearch(trials, params.tune)).as_dict())
    write_json(layout.study / "trials.json", [trial.as_dict() for trial in trials])
    return layout


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_fails_at_its_own_output(searched: Layout, place, command):
    words = COMMANDS[command]
    done = subprocess.run(
        [sys.executable, "-m", "headway.cli", *words],
        cwd=searched.root,
        env=environment(**PLACES[place]),
        capture_output=True,
        check=False,
        timeout=120,
    )
    printed = done.stdout + done.stderr
    assert b"Traceback" not in printed
    plain = re.sub(rb"\x1b\[[0-9;]*m", b"", printed) if "FORCE_COLOR" in PLACES[place] else printed
    assert not [byte for byte in plain if byte < 32 and byte != 10], printed
    if place == "ASCII":
        assert printed.isascii()
    assert done.returncode == (2 if command in ("a mistake", "an unknown option", "no project") else 0), printed


def test_the_study_is_whole_in_ascii(searched: Layout):
    done = subprocess.run(
        [sys.executable, "-m", "headway.cli", "params"],
        cwd=searched.root,
        env=environment(PYTHONIOENCODING="ascii"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert r"F\xfcr Kritiken \xb7 \u5f71\u8bc4" in done.stdout


@pytest.mark.parametrize("command", ["params", "schema", "help", "study"])
def test_a_reader_that_stops_early_causes_no_message(searched: Layout, command):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "headway.cli", *COMMANDS[command]],
            cwd=searched.root,
            stdout=output,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
        )
    assert done.stderr == b""


def test_closed_streams_are_no_traceback(searched: Layout):
    command = f"{sys.executable} -m headway.cli params >&- 2>closed.txt"
    subprocess.run(command, shell=True, cwd=searched.root, check=False, timeout=120)
    assert "Traceback" not in (searched.root / "closed.txt").read_text()


def test_a_file_name_that_is_not_text_is_shown_with_escapes(tmp_path):
    folder = os.fsencode(tmp_path) + b"/f\xff\x1b[2J"
    os.mkdir(folder)
    (tmp_path / os.fsdecode(folder) / "params.yaml").touch()  # the folder is named as an unfinished project
    done = subprocess.run(
        [sys.executable, "-m", "headway.cli", "params"], cwd=folder, capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 2
    assert rb"f\udcff\x1b[2J" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_terminal_keeps_colours_and_gets_no_other_control_character(monkeypatch):
    main, side = pty.openpty()
    with open(side, "w", encoding="utf-8", newline="") as terminal:
        GuardedStream(terminal).write("\x1b[1mbold\x1b[0m\x1b]0;title\x07\u202e http://user:secret@host\x9b2J\n")
        terminal.flush()
        shown = os.read(main, 1000).decode()
    os.close(main)
    assert shown == "\x1b[1mbold\x1b[0m\\x1b]0;title\\x07\\u202e http://host\\x9b2J\r\n"


@pytest.mark.parametrize("name", ["FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"])
def test_a_pipe_gets_colours_if_the_environment_forces_them(searched: Layout, name):
    done = subprocess.run(
        [sys.executable, "-m", "headway.cli", "--help"],
        cwd=searched.root,
        env=environment(**{name: "1"}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b[1m" in done.stdout
    assert r"\x1b" not in done.stdout


def test_a_pipe_with_forced_colours_gets_no_other_control_character(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    output = io.StringIO()
    GuardedStream(output).write("\x1b[1mbold\x1b[0m\x1b[2J\x1b]0;title\x07\r\n")
    assert output.getvalue() == "\x1b[1mbold\x1b[0m\\x1b[2J\\x1b]0;title\\x07\\r\n"


def test_a_pipe_gets_no_control_character_at_all(monkeypatch):
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)
    output = io.StringIO()
    stream = GuardedStream(output)
    assert stream.write("\x1b[1mbold\x1b[0m\r\n") == 14
    stream.writelines(["a\n", "postgresql://me:secret@host/db\n"])
    assert output.getvalue() == "\\x1b[1mbold\\x1b[0m\\r\na\npostgresql://host/db\n"


def test_a_line_of_foreign_text_stays_one_line(capsys):
    streams.say("label 'spam\n3 decisions, none altered'")
    assert capsys.readouterr().out == "label 'spam\\n3 decisions, none altered'\n"


def test_json_that_is_printed_stays_json(searched: Layout):
    done = subprocess.run(
        [sys.executable, "-m", "headway.cli", "params", "--schema"],
        cwd=searched.root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["properties"]


#: Sets a terminal's title, clears its screen, reverses text and begins a line of its own.
HOSTILE = "\x1b]0;title\x07\x1b[2J\u202e [bold]x[/] | a\n3 decisions, none altered"


def assert_harmless(printed: str) -> None:
    """No control character, no line that the hostile text forges, and the text itself is shown."""
    assert not [character for character in printed if character != one_line(character) and character not in "\n\t"]
    assert not [line for line in printed.splitlines() if line.strip(" │┃").startswith("3 decisions")]
    assert r"\x1b]0;" in printed


@pytest.mark.parametrize(
    ("show", "width"),
    [(registry._blocks, 40), (registry._blocks, 80), (lambda decisions: [registry._table(decisions)], 250)],
)
def test_a_reason_cannot_forge_a_line_of_the_history(show, width):
    content = decision_content(ref(1), None, REFUSAL, reason=HOSTILE)
    console = Console(width=width, file=io.StringIO(), highlight=False, markup=False)
    console.print(*show([new_decision(**content, number=1, previous="")]), sep="\n")
    assert_harmless(console.file.getvalue())


def test_the_survey_of_hostile_data_is_harmless(project: Layout, repository: Path):
    data = project.root / "data" / "input" / f"re{HOSTILE.replace('/', '')}views.csv"
    data.parent.mkdir(parents=True)
    words = sorted(set(re.findall(r"[a-z]{4,}", (repository / "README.md").read_text(encoding="utf-8"))))
    draw = random.Random(1)
    with data.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([f"text {HOSTILE}", f"label {HOSTILE}", f"shop {HOSTILE}"])
        for number in range(300):
            text = " ".join([*draw.choices(words, k=9), "bad" if number % 2 else "good"])
            writer.writerow([f"{text} {HOSTILE}", f"{'neg' if number % 2 else 'pos'} {HOSTILE}", f"{number % 7} {HOSTILE}"])
    columns = ["--text", f"text {HOSTILE}", "--label", f"label {HOSTILE}", "--header"]
    done = subprocess.run(
        [sys.executable, "-m", "headway.cli", "init", "--data", str(data.parent), *columns, "--yes"],
        cwd=project.root,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert_harmless(done.stdout + done.stderr)


def test_a_table_of_changed_labels_is_harmless():
    table = data_commands._table([LabelChange(f"spam {HOSTILE}", 1, 3), LabelChange(None, 1, 0)])
    console = Console(width=100, file=io.StringIO())
    console.print(table)
    assert_harmless(console.file.getvalue())
