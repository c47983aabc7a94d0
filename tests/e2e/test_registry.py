"""Model card, lineage, forced promotion and rollback, by commands on a project whose flow has run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headway.registry.registry import MODEL_TAG, Registry
from headway.serving import package
from tests.e2e.conftest import Clone, git

pytestmark = pytest.mark.e2e


@pytest.mark.slow
def test_the_cards_command_makes_the_same_model_again_elsewhere(ran: Clone, tmp_path: Path) -> None:
    """In a clone without data or cache, where every stage runs at the commit that the card names."""
    card = ran.run("headway", "card", "1").stdout
    (command,) = re.findall(r"^git checkout .*$", card, re.MULTILINE)
    assert "The files had uncommitted changes" not in card
    git(ran.root, "clone", "--quiet", str(ran.root), str(tmp_path / "elsewhere"))
    elsewhere = Clone(tmp_path / "elsewhere")
    assert not elsewhere.layout.candidate.exists()
    done = elsewhere.run("bash", "-e", "-c", command)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Running stage 'train'" in done.stdout
    version = Registry(ran.tracker()).version("1")
    assert version is not None
    assert package.fingerprint(elsewhere.layout.candidate) == version.tags[MODEL_TAG]


def test_lineage_leads_from_version_to_commit_and_back(ran: Clone) -> None:
    first_commit = git(ran.root, "rev-list", "--max-parents=0", "HEAD")
    printed = ran.run("headway", "lineage", "1").stdout
    assert f" {first_commit}\n" in printed
    assert "2 trials below that run" in printed
    assert "version 1 of headway" in ran.run("headway", "lineage", first_commit[:10]).stdout
    (run,) = re.findall(r"^  run +([0-9a-f]{32})", printed, re.MULTILINE)
    assert "version 1 of headway" in ran.run("headway", "lineage", run).stdout


def test_a_refused_version_can_be_forced_and_rolled_back(ran: Clone) -> None:
    """The last test of the file, because it changes the history."""
    warmup = re.search(r"  warmup_ratio: \S+", ran.layout.params.read_text())[0]
    ran.edit((warmup, "  warmup_ratio: 0.2"))
    again = ran.run("headway", "run")
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    champion, versions = Registry(ran.tracker()).champion(), Registry(ran.tracker()).versions()
    other = next(version for version in reversed(versions) if str(version.version) != str(champion.version))
    forced = ran.run("headway", "promote", str(other.version), "--force", "--reason", "a demonstration")
    assert f"PROMOTED: version {other.version} is champion" in forced.stdout, forced.stdout + forced.stderr
    assert "no_worse_than_baseline" in forced.stdout, "the gate did not run"
    assert "champion already" in ran.run("headway", "promote", str(other.version)).stderr
    back = ran.run("headway", "rollback", "--reason", "the demonstration is over")
    assert back.stdout.startswith(f"version {champion.version} is champion again"), back.stdout + back.stderr
    assert str(Registry(ran.tracker()).champion().version) == str(champion.version)
    assert ran.run("headway", "history", "--verify").stdout.startswith(f"{len(ran.decisions())} decisions, none altered")
