"""README.md, README.zh.md and the pages in docs/ as text: links lead to files, commands exist, both languages agree."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from headway import cli

READMES = ["README.md", "README.zh.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
INLINE_COMMAND = re.compile(r"`(headway [a-z][^`\n]*)`")
#: Languages of blocks whose content does not depend on the language of the page.
CODE = ("bash", "console", "python")


@pytest.fixture(scope="module")
def pages(repository: Path) -> dict[str, str]:
    """Texts of all pages by path."""
    docs = [page for page in (repository / "docs").rglob("*.md") if "_build" not in page.parts]
    return {str(page): page.read_text(encoding="utf-8") for page in [*(repository / name for name in READMES), *docs]}


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of the blocks with commands or Python."""
    return [(language, content) for language, content in BLOCK.findall(text) if language in CODE]


def unknown(command_line: str) -> list[str]:
    """The command or the options in a command line of headway that do not exist."""
    command: Any = get_command(cli.app)
    words = shlex.split(command_line)[1:]
    while hasattr(command, "commands"):
        if command.invoke_without_command and (not words or words[0].startswith("--")):
            break
        if not words or words[0] not in command.commands:
            return words[:1] or ["a command is missing"]
        command, words = command.commands[words[0]], words[1:]
    options = {option for param in command.params for option in param.opts}
    return [word for word in words if word.startswith("--") and word not in options]


@pytest.mark.parametrize("name", READMES)
def test_the_readme_is_short(repository: Path, name: str) -> None:
    assert len((repository / name).read_text(encoding="utf-8").splitlines()) <= 200


def test_links_lead_to_files(pages: dict[str, str]) -> None:
    links = {(page, link) for page, text in pages.items() for link in LINK.findall(text)}
    assert len(links) > 40
    assert [(page, link) for page, link in links if not (Path(page).parent / link).is_file()] == []


def test_the_chinese_readme_has_the_same_code_in_the_same_order(repository: Path) -> None:
    english, chinese = (blocks((repository / name).read_text(encoding="utf-8")) for name in READMES)
    assert chinese == english


def test_the_chinese_readme_names_the_same_commands_in_its_text(repository: Path) -> None:
    english, chinese = (
        sorted(set(re.findall(r"`((?:headway|make) [^`\n]+)`", (repository / name).read_text(encoding="utf-8"))))
        for name in READMES
    )
    assert chinese == english


def test_commands_in_running_text_exist_with_their_options(pages: dict[str, str]) -> None:
    found = {(page, command) for page, text in pages.items() for command in INLINE_COMMAND.findall(text)}
    assert len(found) > 20
    assert {(page, command): unknown(command) for page, command in found if unknown(command)} == {}
