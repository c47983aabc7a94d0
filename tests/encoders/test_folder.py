"""An encoder's folder is read only if it is whole, safe, supported, and the one that was added."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headway.encoders import config, folder
from headway.errors import HeadwayError
from headway.files import sha256_of_file
from tests.encoders.conftest import TENSORS, write_encoder, write_shards


def refusal(encoders: Path, name: str = "tiny", revision: str = "") -> str:
    with pytest.raises(HeadwayError) as caught:
        folder.read(encoders, name, revision)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_copied_by_hand_is_read_with_its_hashes(encoders: Path, tiny: Path) -> None:
    found = folder.read(encoders, "tiny")
    assert found.folder == tiny
    assert found.model_type == "bert"
    assert found.weights == (tiny / "model.safetensors",)
    assert found.tokenizer == tiny / "tokenizer.json"
    expected = {name: sha256_of_file(tiny / name) for name in ("config.json", "model.safetensors", "tokenizer.json")}
    assert found.sha256 == expected
    assert (found.source, found.revision, found.licence) == ("", "", "apache-2.0")


def test_a_name_of_the_hub_has_two_parts(encoders: Path) -> None:
    write_encoder(encoders / "organisation" / "tiny")
    assert folder.read(encoders, "organisation/tiny").model_type == "bert"


def test_the_record_says_where_the_encoder_came_from(encoders: Path, recorded: Callable[..., Path]) -> None:
    recorded()
    found = folder.read(encoders, "tiny", "a" * 40)
    assert (found.source, found.revision, found.licence) == ("organisation/tiny", "a" * 40, "mit")


def test_the_licence_of_the_folder_is_used_if_the_record_has_none(encoders: Path, recorded: Callable[..., Path]) -> None:
    recorded(licence="")
    assert folder.read(encoders, "tiny").licence == "apache-2.0"


def test_the_fingerprint_changes_with_each_file(encoders: Path, tiny: Path) -> None:
    seen = {folder.read(encoders, "tiny").fingerprint}
    for name in ("config.json", "tokenizer.json"):
        (tiny / name).write_text((tiny / name).read_text() + " ")
        seen.add(folder.read(encoders, "tiny").fingerprint)
    assert len(seen) == 3


def test_each_version_of_a_file_is_hashed_once_in_a_process(
    encoders: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(folder, "sha256_of_file", lambda path: hashed.append(path.name) or sha256_of_file(path))
    before = folder.read(encoders, "tiny")
    assert folder.read(encoders, "tiny") == before
    assert sorted(hashed) == sorted(before.sha256)
    config = tiny / "config.json"
    changed = config.read_bytes().replace(b"{", b"{ ", 1)
    config.write_bytes(changed)
    assert folder.read(encoders, "tiny").sha256 == before.sha256 | {"config.json": sha256_of_file(config)}
    assert sorted(hashed) == sorted([*before.sha256, "config.json"])


def test_weights_in_several_files_are_those_of_the_index(encoders: Path, tiny: Path) -> None:
    write_shards(tiny)
    (tiny / "other.safetensors").write_text("not named by the index")
    found = folder.read(encoders, "tiny")
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert [file.name for file in found.weights] == shards
    assert sorted(found.sha256) == ["config.json", *shards, "model.safetensors.index.json", "tokenizer.json"]


def test_types_and_shapes_are_read_from_the_header(tiny: Path) -> None:
    assert config.tensors(tiny / "model.safetensors") == {name: ("F32", value.shape) for name, value in TENSORS.items()}


@pytest.mark.parametrize(
    "name", ["..", "../tiny", "a/../../b", "/etc", "a/b/c", "a//b", ".git", "tiny.partial", "a\\b", "tiny\n"]
)
def test_a_name_that_is_none_or_leads_elsewhere_is_refused(encoders: Path, tiny: Path, name: str) -> None:
    assert "pretrained.path" in refusal(encoders, name)


def test_an_empty_name_is_refused(encoders: Path) -> None:
    assert "pretrained.path: empty" in refusal(encoders, "")


def test_a_missing_folder_names_those_that_exist_and_the_command(encoders: Path, tiny: Path) -> None:
    write_encoder(encoders / "organisation" / "small")
    message = refusal(encoders, "tiyn")
    assert "organisation/small, tiny" in message
    assert "headway encoders add NAME@REVISION" in message


def test_a_missing_folder_where_there_is_none_at_all(encoders: Path) -> None:
    assert "no encoders" in refusal(encoders)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(encoders: Path, tiny: Path, name: str) -> None:
    (tiny / name).unlink()
    assert name in refusal(encoders)


def test_a_shard_that_the_index_names_must_be_there(encoders: Path, tiny: Path) -> None:
    write_shards(tiny)
    (tiny / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors" in refusal(encoders)


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/passwd", "pytorch_model.bin", 3])
def test_an_index_cannot_name_files_elsewhere_or_pickles(encoders: Path, tiny: Path, shard: Any) -> None:
    write_shards(tiny)
    (tiny / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    assert "weight_map" in refusal(encoders)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "pytorch_model-00001-of-00002.bin"])
def test_pickled_weights_are_refused_with_the_reason(encoders: Path, tiny: Path, name: str) -> None:
    (tiny / "model.safetensors").rename(tiny / name)
    message = refusal(encoders)
    assert name in message
    assert "pickle" in message
    assert "save_pretrained" in message


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "[" * 100_000, "\udcff"])
def test_damaged_json_is_one_line(encoders: Path, tiny: Path, name: str, content: str) -> None:
    (tiny / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    message = refusal(encoders)
    assert f"{name}: damaged" in message


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        b"version https://git-lfs.github.com/spec/v1",
    ],
)
def test_weights_without_a_readable_header_are_refused(encoders: Path, tiny: Path, content: bytes) -> None:
    (tiny / "model.safetensors").write_bytes(content)
    assert "model.safetensors: damaged" in refusal(encoders)


def test_truncated_weights_are_refused(encoders: Path, tiny: Path) -> None:
    path = tiny / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "model.safetensors: damaged" in refusal(encoders)


@pytest.mark.parametrize("family", [None, "t5", 3, ["bert"], "x" * 1000])
def test_another_family_is_refused_with_those_that_are_supported(encoders: Path, family: Any) -> None:
    write_encoder(encoders / "tiny", model_type=family)
    message = refusal(encoders)
    assert "model_type" in message
    assert "xlm-roberta" in message
    assert len(message) < 700


def test_code_of_its_own_is_refused(encoders: Path) -> None:
    write_encoder(encoders / "tiny", auto_map={"AutoModel": "modeling.Model"})
    assert "auto_map" in refusal(encoders)


@pytest.mark.parametrize("name", ["transformers_weights", "configuration_files", "quantization_config"])
def test_a_config_that_leads_to_other_files_or_numbers_is_refused(encoders: Path, name: str) -> None:
    write_encoder(encoders / "tiny", **{name: "other.safetensors"})
    assert f"config.json: {name} asks for other weights or settings" in refusal(encoders)


def test_an_adapter_is_refused(encoders: Path, tiny: Path) -> None:
    (tiny / "adapter_config.json").write_text("{}")
    assert "adapters are not supported" in refusal(encoders)


def test_another_revision_than_the_recorded_one_is_refused(encoders: Path, recorded: Callable[..., Path]) -> None:
    recorded()
    message = refusal(encoders, revision="b" * 40)
    assert "a" * 40 in message
    assert "b" * 40 in message


def test_a_revision_is_refused_where_none_is_recorded(encoders: Path, tiny: Path) -> None:
    assert "encoder.json" in refusal(encoders, revision="a" * 40)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_file_that_changed_since_it_was_added_is_refused(
    encoders: Path, tiny: Path, recorded: Callable[..., Path], name: str
) -> None:
    recorded()
    if name.endswith(".json"):
        (tiny / name).write_text((tiny / name).read_text() + "\n")
    else:
        content = bytearray((tiny / name).read_bytes())
        content[-1] ^= 1
        (tiny / name).write_bytes(content)
    message = refusal(encoders)
    assert f"{name}: not the file that was added" in message


def test_a_recorded_file_that_is_gone_is_refused(encoders: Path, tiny: Path, recorded: Callable[..., Path]) -> None:
    (tiny / "tokenizer_config.json").write_text("{}")
    recorded()
    (tiny / "tokenizer_config.json").unlink()
    assert "tokenizer_config.json" in refusal(encoders)


def test_weights_that_the_record_does_not_list_are_refused(encoders: Path, recorded: Callable[..., Path]) -> None:
    recorded(sha256={})
    assert "does not list it" in refusal(encoders)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"source": 1, "revision": "", "licence": "", "sha256": {}}'])
def test_a_damaged_record_is_one_line(encoders: Path, tiny: Path, content: str) -> None:
    (tiny / "encoder.json").write_text(content)
    assert "encoder.json: damaged" in refusal(encoders)


@pytest.mark.parametrize(
    ("readme", "expected"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ('---\r\nlanguage: en\r\nlicense: "cc-by-4.0"\r\n---\r\n', "cc-by-4.0"),
        ("---\nlicense:\n- gpl-3.0\n- mit\n---\n", "gpl-3.0"),
        ("---\nlicense: other\nlicense_name: tongyi\n---\n", "tongyi"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlanguage: en\n---\nlicense: mit\n", ""),
        ("# Title\nlicense: mit\n", ""),
        ("", ""),
    ],
)
def test_the_licence_is_that_of_the_front_matter(encoders: Path, readme: str, expected: str) -> None:
    write_encoder(encoders / "tiny", readme=readme)
    assert folder.read(encoders, "tiny").licence == expected


def test_names_are_those_of_folders_that_hold_an_encoder(encoders: Path, tiny: Path) -> None:
    write_encoder(encoders / "organisation" / "small")
    write_encoder(encoders / "late.partial")
    (tiny / "1_Pooling").mkdir()
    (tiny / "1_Pooling" / "config.json").write_text("{}")
    (encoders / "README.md").write_text("a file")
    (encoders / "empty").mkdir()
    assert folder.names(encoders) == ["organisation/small", "tiny"]
