"""A package's folder as the source of the model that answers, and what is known about it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from headway.errors import HeadwayError
from headway.serving import package
from headway.serving.live.live_model import LiveModel
from headway.serving.live.source import FolderSource
from headway.serving.package import WEIGHTS
from tests.serving.conftest import CLASSES, MAX_LENGTH, TEXTS
from tests.serving.live.conftest import until


def test_a_folder_is_served_under_its_name_and_the_beginning_of_its_fingerprint(versions: dict[str, Path]) -> None:
    source = FolderSource(versions["1"])
    served = source.fetch(source.newest())
    assert served.name == versions["1"].name
    assert served.fingerprint == package.fingerprint(versions["1"])
    assert served.version == f"package-{served.fingerprint[:12]}"
    assert served.package.predict_proba(TEXTS).shape == (len(TEXTS), len(CLASSES))


def test_what_is_known_about_a_folder_is_json_without_unknown_parts(versions: dict[str, Path]) -> None:
    source = FolderSource(versions["1"])
    about = json.loads(json.dumps(source.fetch(source.newest()).about))
    assert (about["classes"], about["format"], about["max_length"]) == (CLASSES, 10, MAX_LENGTH)
    assert about["parts"]["ngrams"]["max_order"] == 2
    assert about["parts"]["attention"]["d_model"] == 8
    assert about["golden"]["texts"] >= 4
    assert about["golden"]["largest_difference"] < 1e-6
    assert not {"encoder", "licence", "decision", "metrics", "data"} & about.keys()


def test_a_package_of_an_earlier_format_is_served(tmp_path: Path) -> None:
    source = FolderSource(Path(__file__).parents[1] / "package_format_6")
    served = source.fetch(source.newest())
    assert served.about["format"] == 6
    assert "golden" not in served.about


def test_a_package_that_replaces_another_is_served_after_a_hint(versions: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "candidate"
    shutil.copytree(versions["1"], folder)
    live = LiveModel(FolderSource(folder), 0.01)
    live.start()
    try:
        before = live.current
        shutil.rmtree(folder)
        live.check_now()
        until(lambda: live.status.problem)
        assert live.current is before
        shutil.copytree(versions["2"], folder)
        live.check_now()
        until(lambda: live.status.swaps == 1)
        assert live.current.fingerprint == package.fingerprint(versions["2"])
    finally:
        live.stop()


def test_a_package_that_is_replaced_while_it_is_read_is_not_served(versions: dict[str, Path]) -> None:
    with pytest.raises(HeadwayError, match="was replaced while it was read"):
        FolderSource(versions["1"]).fetch(package.fingerprint(versions["2"]))


def test_a_folder_without_a_package_is_refused(versions: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(HeadwayError, match="not a model package"):
        FolderSource(tmp_path).newest()
    folder = Path(shutil.copytree(versions["1"], tmp_path / "damaged"))
    (folder / WEIGHTS).unlink()
    source = FolderSource(folder)
    with pytest.raises(HeadwayError, match=f"{WEIGHTS}: missing"):
        source.fetch(source.newest())
