"""transformers loads an encoder from its folder without a connection to anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headway.encoders import folder

SCRIPT = """
import socket, sys
from headway import environment
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
"""


def test_a_folder_of_transformers_is_loaded_offline_and_read(encoders: Path) -> None:
    pytest.importorskip("transformers")
    path = encoders / "tiny"
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "CONNECTED" not in done.stderr
    assert done.stdout == "BertModel 8\n"
    (path / "tokenizer.json").write_text("{}")
    assert folder.read(encoders, "tiny").model_type == "bert"
