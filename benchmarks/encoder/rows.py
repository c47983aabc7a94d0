"""The texts of a data set as a pretrained encoder sees them: sub-words, and a frozen encoder's features, which are kept.

Features are computed by the code of the stages ``tokenize`` and ``train``. Finished blocks of rows are kept with the seconds
that they took, so that an interrupted computation continues and its time is still known.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.shipped import PROJECT
from headway import encoders
from headway.data.batching.datamodule import subset
from headway.data.tokenization import subwords
from headway.data.tokenization.encoded import EncodedTexts
from headway.data.tokenization.subwords import SubwordEncoder
from headway.encoders import EncoderFiles
from headway.files import read_json, sha256_of_json, write_json
from headway.layout import Layout
from headway.model import pretrained
from headway.params import Params
from headway.stages.tokenize.pretrained import computed, libraries

#: Rows whose features are computed before they and their seconds are kept.
BLOCK = 1_024


def with_encoder(params: Params, name: str, mode: str = "frozen") -> Params:
    """Params whose attention part is the encoder in ``data/encoders/<name>``."""
    return params.override({"model.encoder": "pretrained", "pretrained.path": name, "pretrained.mode": mode})


def files_of(params: Params) -> EncoderFiles:
    """The files of the params' encoder; HeadwayError if they cannot be used."""
    return encoders.read(Layout(PROJECT).encoders, params.pretrained.path, params.pretrained.revision)


def identity(params: Params) -> str:
    """A hash, 16 digits, of everything besides texts and code that features depend on."""
    files, training = files_of(params), params.training
    settings = [files.fingerprint, params.pretrained.max_length, params.tokenizer.strip_html, pretrained.MAX_LAYERS]
    return sha256_of_json([*settings, training.threads, training.precision, *libraries(files)])[:16]


def encode(texts: Sequence[str], labels: np.ndarray, params: Params) -> EncodedTexts:
    """The sub-words of texts, with their labels, (texts,)."""
    found = subword_encoder(params)(texts)
    offsets = np.zeros(len(found) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids in found], out=offsets[1:])
    return EncodedTexts(np.concatenate(found), offsets, np.asarray(labels), ())


def subword_encoder(params: Params) -> SubwordEncoder:
    """From text to sub-words, as the params say."""
    files = files_of(params)
    return subwords.encoder_of(files.tokenizer, files.config, params.pretrained.max_length, params.tokenizer.strip_html)


def features(texts: EncodedTexts, params: Params, folder: Path) -> tuple[np.ndarray, float]:
    """What a frozen encoder gives for texts, float32, (texts, P, d), see :func:`headway.model.pretrained.features`.

    The seconds that it took to compute them are returned too. Both are kept in ``folder``.
    """
    for unfinished in folder.glob("*.partial"):  # its seconds are not known
        unfinished.unlink()
    rows = np.array_split(np.argsort(texts.lengths, kind="stable"), -(-len(texts) // BLOCK))
    blocks = {f"{number}-of-{len(rows)}": subset(texts, block) for number, block in enumerate(rows, 1)}
    found: list[np.ndarray] = []
    taken = 0.0
    started = time.monotonic()
    for name, values in zip(blocks, computed(params, files_of(params), folder, blocks), strict=True):
        kept = folder / f"{name}-seconds.json"
        if not kept.exists():
            write_json(kept, time.monotonic() - started)
        taken += float(read_json(kept, made_by="benchmark"))
        found.append(values)
        started = time.monotonic()
    together = np.empty((len(texts), *found[0].shape[1:]), np.float32)
    together[np.concatenate(rows)] = np.concatenate(found)
    return together, taken


def pooled(values: np.ndarray, params: Params) -> torch.Tensor:
    """The features of the params' pooling, float32, (texts, d) or (texts, D), of features, (texts, P, d)."""
    return pretrained.select(values, params.pretrained.resolved_pooling)
