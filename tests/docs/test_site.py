"""The documentation builds without a warning, asks the network for nothing, and has every option, command and record in it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

from headway import cli
from headway.errors import HeadwayError
from headway.evaluation.predictions import Predictions
from headway.params import Params
from headway.promotion.gate import GateInput, decide

#: Attributes by which a browser fetches something as soon as it opens a page.
ASSETS = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-n", "-W", "--keep-going", "-q", "-d", str(folder / "doctrees")]
    done = subprocess.run(
        [*command, "-b", "html", str(repository / "docs"), str(folder / "html")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


class Assets(HTMLParser):
    """Collects the addresses of a page's assets."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ASSETS and values.get("rel") not in ("canonical", "author", "next", "prev"):
            self.found.append(values.get(ASSETS[tag]) or "")


def pages(repository: Path) -> list[Path]:
    return sorted(page for page in (repository / "docs").rglob("*.md") if "_build" not in page.parts)


def test_no_page_fetches_anything_from_the_network(site: Path) -> None:
    built = list(site.rglob("*.html"))
    assert len(built) > 20
    for page in built:
        assets = Assets()
        assets.feed(page.read_text(encoding="utf-8"))
        assert not [address for address in assets.found if "//" in address], page
    for sheet in site.rglob("*.css"):
        fetched = re.findall(r"@import|url\(\s*['\"]?(?:https?:)?//", sheet.read_text(encoding="utf-8"))
        assert not fetched, sheet


def test_every_knob_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "params.html").read_text(encoding="utf-8")
    for name, field in Params.model_fields.items():
        assert f'id="{name}"' in page
        for knob in knobs(field.annotation):
            assert f">{knob}</span>" in page, f"{name}.{knob}"


def knobs(section: Any, prefix: str = "") -> Iterator[str]:
    """The knobs of a section; those of a section in it after its name."""
    for name, field in getattr(section, "model_fields", {}).items():
        if hasattr(field.annotation, "model_fields"):
            yield from knobs(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_command_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    for name in get_command(cli.app).commands:  # type: ignore[attr-defined]
        assert f'id="headway-{name}' in page


def test_no_marker_of_generated_content_is_left(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert "generated:" not in page.read_text(encoding="utf-8"), page


@pytest.mark.parametrize("policy", ["superior", "non_inferior"])
def test_every_check_of_the_gate_is_explained(repository: Path, params: Params, policy: str) -> None:
    """Models that cannot be compared fail every check that applies, so that each is named."""
    candidate = Predictions(["a"], np.array([0]), np.array([[1, 0]], dtype=np.float32), ["no", "yes"])
    lost = HeadwayError("lost")
    given = GateInput(candidate, baseline=lost, champion=lost, seen_rows="trained on them")
    page = (repository / "docs" / "concepts" / "gate.md").read_text(encoding="utf-8")
    checks = decide(given, params.override({"gate.policy": policy}).gate, seed=1).checks
    assert len(checks) > 10
    assert [check.name for check in checks if f"`{check.name}`" not in page] == []


def test_commands_that_need_a_server_have_arguments_that_exist(repository: Path) -> None:
    """Blocks marked ``console`` are not run; their headway commands are parsed."""
    lines = [
        line
        for page in pages(repository)
        for block in CONSOLE.findall(page.read_text(encoding="utf-8"))
        for line in block.replace("\\\n", "").splitlines()
    ]
    calls = [shlex.split(line)[2:] for line in lines if line.startswith("$ headway ")]
    assert calls
    assert all(line.startswith("$ ") for line in lines)
    group: Any = get_command(cli.app)
    for name, *arguments in calls:
        group.commands[name].make_context(name, list(arguments))
