"""A tiny encoder's folder, as transformers writes one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

README = "---\nlanguage: en\nlicense: apache-2.0\n---\n# A tiny encoder\n"
TENSORS = {
    "embeddings.word_embeddings.weight": np.zeros((10, 4), np.float32),
    "encoder.layer.0.output.dense.weight": np.ones((4, 4), np.float32),
}
PARAMETERS = 56


def write_encoder(folder: Path, readme: str = README, **config: Any) -> Path:
    """Write config.json, tokenizer.json, model.safetensors and README.md; None removes a key of the config."""
    folder.mkdir(parents=True)
    content = {"model_type": "bert", "hidden_size": 4, **config}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": {"type": "WordPiece", "vocab": {}}}))
    save_file(TENSORS, folder / "model.safetensors")
    (folder / "README.md").write_text(readme)
    return folder


def write_shards(folder: Path) -> None:
    """Replace model.safetensors by an index and two files."""
    (folder / "model.safetensors").unlink()
    files = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name, (tensor, value) in zip(files, TENSORS.items(), strict=True):
        save_file({tensor: value}, folder / name)
    weight_map = dict(zip(TENSORS, files, strict=True))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.fixture
def encoders(tmp_path: Path) -> Path:
    """data/encoders of a project; there is none yet."""
    return tmp_path / "data" / "encoders"


@pytest.fixture
def tiny(encoders: Path) -> Path:
    """The folder of an encoder with that name."""
    return write_encoder(encoders / "tiny")


@pytest.fixture
def recorded(tiny: Path) -> Callable[..., Path]:
    """Writes the record of the encoder as ``headway encoders add`` does."""
    from headway.files import sha256_of_file, write_json

    def record(**changes: Any) -> Path:
        sha256 = {path.name: sha256_of_file(path) for path in tiny.iterdir() if path.suffix in (".json", ".safetensors")}
        content = {"source": "organisation/tiny", "revision": "a" * 40, "licence": "mit", "sha256": sha256}
        write_json(tiny / "encoder.json", content | changes)
        return tiny / "encoder.json"

    return record
