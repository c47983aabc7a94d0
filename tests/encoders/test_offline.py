"""transformers loads an encoder from its folder without a connection to anything, and its cost is measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headway.encoders import cost, folder
from headway.errors import HeadwayError

SCRIPT = """
import pathlib, socket, sys
from headway import environment
from headway.encoders import cost, folder
environment.configure()

def refuse(*_):
    print("CONNECTED", file=sys.stderr)
    raise OSError("a test allows no connection")

socket.socket.connect = socket.getaddrinfo = refuse
import transformers
sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=20)
transformers.BertModel(transformers.BertConfig(**sizes)).save_pretrained(sys.argv[1])
model = transformers.AutoModel.from_pretrained(sys.argv[1], local_files_only=True, trust_remote_code=False)
print(type(model).__name__, model.config.hidden_size)
(pathlib.Path(sys.argv[1]) / "tokenizer.json").write_text("{}")
cost.SECONDS = 0
found = cost.measure(folder.read(pathlib.Path(sys.argv[1]).parent, "tiny"), threads=1)
print(0 < found.encode < found.train < 60)
"""


def test_a_folder_of_transformers_is_read_loaded_and_measured_offline(encoders: Path) -> None:
    pytest.importorskip("transformers")
    path = encoders / "tiny"
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "CONNECTED" not in done.stderr
    assert done.stdout == "BertModel 8\nTrue\n"
    assert folder.read(encoders, "tiny").model_type == "bert"


def test_without_transformers_the_extra_is_named(encoders: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(HeadwayError, match=r"\.\[pretrained\]"):
        cost.measure(folder.read(encoders, "tiny"), threads=1)


def test_weights_that_transformers_cannot_load_are_one_line(encoders: Path, tiny: Path) -> None:
    pytest.importorskip("transformers")
    (tiny / "config.json").write_text('{"model_type": "bert", "hidden_size": "wide"}')
    with pytest.raises(HeadwayError, match="cannot be loaded as an encoder"):
        cost.measure(folder.read(encoders, "tiny"), threads=1)
