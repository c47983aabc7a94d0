"""Downloads with clients that stand in for pip, npm, apt-get and dpkg-deb, so that no test needs a network."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from benchmarks.panel import packages
from benchmarks.panel.packages import Unavailable


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for programs, the only one on PATH besides the system's; the cache is empty."""
    folder = tmp_path / "clients"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(packages, "CACHE", tmp_path / "cache")
    return folder


def program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\necho {name} $* >> {folder}/calls\n{script}\n")
    file.chmod(0o755)


def calls(folder: Path) -> list[str]:
    file = folder / "calls"
    return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    file = tmp_path / "texts.tgz"
    (tmp_path / "text.txt").write_text("words")
    with tarfile.open(file, "w:gz") as tar:
        tar.add(tmp_path / "text.txt", "package/text.txt")
    return file


def test_a_package_is_downloaded_once_and_unpacked(clients: Path, archive: Path) -> None:
    program(clients, "npm", f"cp {archive} texts-1.0.0.tgz")
    for _ in range(2):
        folder = packages.npm("texts@1.0.0")
        assert (folder / "package" / "text.txt").read_text() == "words"
    assert calls(clients) == ["npm pack --silent texts@1.0.0"]
    assert [path.name for path in folder.iterdir()] == ["package"]
    assert packages.member(archive, "package/text.txt") == b"words"


def test_debian_packages_are_downloaded_with_package_lists_of_their_own(clients: Path) -> None:
    program(clients, "apt-get", 'case "$*" in *download*) touch words_1.deb ;; esac')
    program(clients, "dpkg-deb", "mkdir usr && echo text > usr/words")
    assert (packages.debian("words") / "usr" / "words").read_text() == "text\n"
    packages.debian("more")
    names = [next(word for word in call.split() if word in ("update", "download", "--extract")) for call in calls(clients)]
    assert names == ["update", "download", "--extract", "download", "--extract"]
    assert all("Dir::State::lists=" in call for call in calls(clients) if call.startswith("apt-get"))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo first >&2; echo 'E: no such package' >&2; exit 100", "npm failed: E: no such package"),
        ("exit 1", "npm failed: no message"),
        ("true", "the download left 0 files"),
    ],
)
def test_a_failure_is_one_reason_and_leaves_nothing_behind(clients: Path, script: str, reason: str) -> None:
    program(clients, "npm", script)
    with pytest.raises(Unavailable, match=reason):
        packages.npm("texts@1.0.0")
    assert list(packages.CACHE.iterdir()) == []


def test_a_missing_client_is_a_reason(clients: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(clients))
    with pytest.raises(Unavailable, match="npm is not on this machine"):
        packages.npm("texts@1.0.0")


def test_a_client_that_never_ends_is_a_reason(clients: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(clients, "npm", "exec sleep 60")
    monkeypatch.setattr(packages, "SECONDS", 0.2)
    with pytest.raises(Unavailable, match="npm took more than"):
        packages.npm("texts@1.0.0")


def test_a_package_that_is_not_installed_is_a_reason() -> None:
    with pytest.raises(Unavailable, match="no-such-package is not installed"):
        packages.installed("no-such-package")
