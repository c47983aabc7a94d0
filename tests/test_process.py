"""Child processes end with their parent, and an aborted command ends with its whole group. Real processes throughout."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from headway.process import RUN_BY_DVC, SECONDS_TO_END, Terminated, raise_on_termination, stream

PATIENCE = 20.0  # seconds, for a busy machine; a successful test does not wait that long

# A parent that starts a child with die_with_parent, and prints its process id.
PARENT = """
import subprocess, sys, time
from headway.process import die_with_parent
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], preexec_fn=die_with_parent)
print(child.pid, flush=True)
time.sleep(600)
"""

# What DVC does to run a stage: with the shell that the environment names.
DVC = """
import os, subprocess
program = "'import time; from headway.process import die_with_dvc; die_with_dvc(); print(1, flush=True); time.sleep(600)'"
shell = os.environ.get("SHELL") or "/bin/sh"
subprocess.run([shell, "-c", f"{os.environ['PYTHON']} -c {program}"])
"""

# A command that starts a child and prints both process ids. Arguments say which of them ignore SIGINT and SIGTERM.
COMMAND = """
import os, signal, subprocess, sys, time
who = sys.argv[1:]
if who:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
if who == ["child"]:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""


def is_gone(pid):
    """Whether a process ends within PATIENCE seconds, zombies included. If not, it is killed."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    psutil.Process(pid).kill()
    return False


def run(tmp_path, program, on_line, *arguments):
    return stream([sys.executable, "-c", program, *arguments], tmp_path, os.environ, on_line)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_child_dies_when_its_parent_is_killed():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
    assert is_gone(child)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
@pytest.mark.parametrize("shell", ["", "/bin/sh", "bash", "dash", "zsh"])
def test_a_stage_dies_when_dvc_is_killed(shell):
    """Some shells replace themselves with the command, and others wait for it and outlive DVC."""
    if shell and not (shell := shutil.which(shell)):
        pytest.skip("this shell is not installed")
    environment = {**os.environ, "SHELL": shell or "", "PYTHON": sys.executable, RUN_BY_DVC: "ingest"}
    with subprocess.Popen([sys.executable, "-c", DVC], stdout=subprocess.PIPE, env=environment) as dvc:
        assert dvc.stdout.readline()
        started = psutil.Process(dvc.pid).children(recursive=True)
        dvc.kill()
    assert started
    assert all(is_gone(process.pid) for process in started)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_streamed_command_dies_when_the_process_that_reads_it_is_killed(tmp_path):
    reader = (
        "import os, pathlib, sys; from headway.process import stream; "
        "command = [sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(600)']; "
        "stream(command, pathlib.Path.cwd(), os.environ, lambda line: print(line, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", reader], cwd=tmp_path, stdout=subprocess.PIPE) as parent:
        command = int(parent.stdout.readline())
        parent.kill()
    assert is_gone(command)


@pytest.mark.parametrize("status", [0, 3])
def test_the_exit_status_is_returned(tmp_path, status):
    assert run(tmp_path, f"raise SystemExit({status})", lambda line: None) == status


def test_lines_of_stdout_and_stderr_arrive_in_order_without_line_ends(tmp_path):
    lines = []
    program = "import sys; print('one'); sys.stdout.flush(); print('zwei 好', file=sys.stderr); print('three', end='')"
    assert run(tmp_path, program, lines.append) == 0
    assert lines == ["one", "zwei 好", "three"]


def test_a_line_arrives_while_the_command_is_running(tmp_path):
    (tmp_path / "unanswered").touch()
    program = (
        "import pathlib, time; print('question', flush=True)\n"
        "while pathlib.Path('unanswered').exists(): time.sleep(0.01)\n"
        "print('answer')"
    )
    lines = []

    def answer(line):
        lines.append(line)
        (tmp_path / "unanswered").unlink(missing_ok=True)  # the command waits for this

    assert run(tmp_path, program, answer) == 0
    assert lines == ["question", "answer"]


def test_invalid_utf8_does_not_end_the_command(tmp_path):
    lines = []
    assert run(tmp_path, r"import sys; sys.stdout.buffer.write(b'caf\xe9\n')", lines.append) == 0
    assert lines == ["caf\ufffd"]


def test_a_command_runs_in_the_given_folder_and_environment_without_input(tmp_path):
    lines = []
    program = "import os, sys; print(os.getcwd()); print(os.environ['WORD']); print(repr(sys.stdin.read()))"
    environment = {**os.environ, "WORD": "headway"}
    assert stream([sys.executable, "-c", program], tmp_path, environment, lines.append) == 0
    assert lines == [str(tmp_path.resolve()), "headway", "''"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_in_the_reader_ends_the_command_and_its_child_and_is_raised_again(tmp_path, error):
    group = []

    def abort(line):
        group.extend(map(int, line.split()))
        raise error

    with pytest.raises(error):
        run(tmp_path, COMMAND, abort)
    assert len(group) == 2
    assert all(is_gone(pid) for pid in group)


@pytest.mark.parametrize("who", ["both", "child"])
def test_a_group_that_ignores_sigint_and_sigterm_is_killed(tmp_path, monkeypatch, who):
    monkeypatch.setattr("headway.process.SECONDS_TO_END", 0.3)
    assert SECONDS_TO_END > 1
    group = []

    def abort(line):
        group.extend(map(int, line.split()))
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        run(tmp_path, COMMAND, abort, who)
    assert all(is_gone(pid) for pid in group)


def test_an_aborted_command_can_clean_up(tmp_path):
    program = (
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n    pathlib.Path('cleaned').touch()\n    sys.exit(0)\n"
        "signal.signal(signal.SIGINT, end); print('ready', flush=True); time.sleep(600)"
    )

    def abort(line):
        raise ValueError(line)

    with pytest.raises(ValueError, match="ready"):
        run(tmp_path, program, abort)
    assert (tmp_path / "cleaned").is_file()


def test_the_command_is_not_in_our_process_group(tmp_path):
    groups = []
    assert run(tmp_path, "import os; print(os.getpgid(0))", lambda line: groups.append(int(line))) == 0
    assert groups[0] != os.getpgid(0)


def test_a_command_killed_by_a_signal_returns_its_negative_number(tmp_path):
    assert run(tmp_path, "import os; os.kill(os.getpid(), 9)", lambda line: None) == -signal.SIGKILL


@pytest.mark.parametrize("after", ["print('two', flush=True); time.sleep(60)", "pass"])
def test_an_interrupt_swallowed_by_other_code_still_ends_the_command(tmp_path, after):
    seen = []

    def swallowing(line):
        seen.append(line)
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        stream([sys.executable, "-c", f"import time; print('one', flush=True); {after}"], tmp_path, os.environ, swallowing)
    assert seen == ["one"]
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("after", ["print('two', flush=True); time.sleep(60)", "pass"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_termination_swallowed_by_other_code_still_ends_the_command(tmp_path, handlers, number, after):
    raise_on_termination()
    seen = []

    def swallowing(line):
        seen.append(line)
        with suppress(Terminated):
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with pytest.raises(Terminated, match=number.name):
        stream([sys.executable, "-c", f"import time; print('one', flush=True); {after}"], tmp_path, os.environ, swallowing)
    assert seen == ["one"]
    assert signal.getsignal(number) == before


@pytest.fixture
def handlers():
    """The handlers of SIGTERM and SIGHUP as a new process has them; those of this process are restored afterwards."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_termination_ends_the_command_and_its_child_and_is_raised(tmp_path, handlers, number):
    raise_on_termination()
    group = []

    def terminate(line):
        group.extend(map(int, line.split()))
        signal.raise_signal(number)

    with pytest.raises(Terminated, match=number.name) as raised:
        run(tmp_path, COMMAND, terminate)
    assert raised.value.number == number
    assert len(group) == 2
    assert all(is_gone(pid) for pid in group)


def test_a_signal_that_is_ignored_stays_ignored(handlers):
    """As SIGHUP is under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise_on_termination()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    signal.raise_signal(signal.SIGHUP)
