"""Training and validation rows as a pretrained encoder sees them: sub-words, and the pooled features of a frozen encoder.

Both are kept in the scratch folder, under a hash of the texts, of the encoder's files and of what computes them: every trial of a
search and the stage train read the same. Features are computed once for each row. A computation that is interrupted continues
where it was saved last. The test split is never encoded here.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self

import numpy as np
import torch

from headway import encoders
from headway.data.batching import TextBatches, TokenBudgetSampler
from headway.data.tokenization import encoded, subwords
from headway.data.tokenization.encoded import EncodedTexts
from headway.encoders import EncoderFiles
from headway.files import fresh_folder, read_json, sha256_of_file, sha256_of_json, write_json
from headway.layout import Layout
from headway.lineage import code_fingerprint
from headway.model import pretrained
from headway.model.training import device_of, pin
from headway.params import Params
from headway.progress import ProgressLine
from headway.stages.tokenize import encode_rows

SPLITS = ("train", "validation")
#: Token budget of a batch whose features are computed.
TOKENS_PER_BATCH = 4_096
#: Seconds of work that a kill loses, at most.
SAVE_EVERY = 10.0
#: Versions of sub-words and of features that are kept, the latest ones.
KEPT = 3


@dataclass(frozen=True)
class PretrainedRows:
    """The features of the training and validation rows, float32, (rows, P, d), mapped into memory; see
    :func:`headway.model.pretrained.features`."""

    train: np.ndarray
    validation: np.ndarray

    @classmethod
    def of(cls, params: Params, layout: Layout) -> Self:
        """The features of the project's rows, computed unless they are kept; HeadwayError if the encoder cannot be used."""
        files = encoder_of(params, layout)
        texts = subwords_of(params, layout, files)
        hashes = [sha256_of_file(texts / f"{name}.arrow") for name in SPLITS]
        settings = [
            code_fingerprint(layout, "tune"),
            files.fingerprint,
            params.training.threads,
            params.training.precision,
            device_of(params.training.accelerator).type,
            TOKENS_PER_BATCH,
            *libraries(files),
            *hashes,
        ]
        folder = _newest(layout.scratch / "features", sha256_of_json(settings)[:16])
        found = {name: EncodedTexts.open(texts / f"{name}.arrow") for name in SPLITS}
        return cls(**dict(zip(SPLITS, computed(params, files, folder, found), strict=True)))

    def pooled(self, split: str, pooling: str) -> torch.Tensor:
        """The features that a way of pooling gives the rows of a split, float32, (rows, d) or (rows, D)."""
        return pretrained.select(getattr(self, split), pooling)


def encoder_of(params: Params, layout: Layout) -> EncoderFiles:
    """The files of the project's pretrained encoder; HeadwayError if they cannot be used."""
    return encoders.read(layout.encoders, params.pretrained.path, params.pretrained.revision)


def identity(params: Params, layout: Layout) -> list[str]:
    """What results with the project's pretrained encoder depend on besides params, rows and code."""
    files = encoder_of(params, layout)
    adapters = [version("peft")] if params.pretrained.mode == "lora" else []
    return [files.fingerprint, *libraries(files), *adapters]


def libraries(files: EncoderFiles) -> list[str]:
    """Versions of the libraries that features depend on. A static encoder needs no transformers, which may not be installed."""
    return [version(name) for name in (["torch"] if files.is_static else ["torch", "transformers"])]


def subwords_of(params: Params, layout: Layout, files: EncoderFiles) -> Path:
    """A folder with the sub-words of the training and validation rows, in the format of the stage tokenize."""
    knobs = params.pretrained
    sources = [sha256_of_file(layout.prepared / f"{name}.parquet") for name in SPLITS]
    code = code_fingerprint(layout, "tokenize")
    kind = [files.is_static, files.config.get("vocab_size")]
    settings = [code, sha256_of_file(files.tokenizer), *kind, knobs.max_length, params.tokenizer.strip_html, *sources]
    folder = _newest(layout.scratch / "subwords", sha256_of_json(settings)[:16])
    if not folder.is_dir():
        encoder = subwords.encoder_of(files.tokenizer, files.config, knobs.max_length, params.tokenizer.strip_html)
        with fresh_folder(folder) as partial:
            for name in SPLITS:
                encoded.write(partial / f"{name}.arrow", encode_rows(layout.prepared / f"{name}.parquet", encoder))
    return folder


def computed(params: Params, files: EncoderFiles, folder: Path, splits: dict[str, EncodedTexts]) -> Iterator[np.ndarray]:
    """The features of each split, from the folder that they are kept in."""
    encoder = None
    for name, texts in splits.items():
        path = folder / f"{name}.npy"
        if not path.is_file():
            if encoder is None:
                pin(params.training.threads)
                precision: torch.dtype = getattr(torch, params.training.precision)
                encoder = pretrained.load(files.folder).to(device_of(params.training.accelerator), precision)
            _compute(encoder, texts, path, name)
        yield np.load(path, mmap_mode="r")


def _compute(encoder: torch.nn.Module, texts: EncodedTexts, path: Path, name: str) -> None:
    """Write the features of a split. What is done is kept in a file beside it, with its number of batches."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, position = path.with_suffix(".npy.partial"), path.with_suffix(".json")
    done = int(read_json(position, made_by="train")["batches"]) if position.is_file() and partial.is_file() else 0
    d = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]  # of transformers' models
    shape = (len(texts), len(pretrained.layers_of(encoder)) + 2, d)
    features = np.lib.format.open_memmap(partial, "r+" if done else "w+", np.float32, shape)
    allocate(partial)
    batches = list(TokenBudgetSampler(texts.lengths, TOKENS_PER_BATCH))
    rows, saved = sum(map(len, batches[:done])), time.monotonic()
    source = TextBatches(texts)
    device = next(encoder.parameters()).device
    with torch.inference_mode(), ProgressLine() as progress:
        progress.note(f"features of the {name} rows · {len(texts) - rows:,} of {len(texts):,} left")
        start, first = saved, rows
        for number, indices in enumerate(batches[done:], done + 1):
            features[indices] = pretrained.features(encoder, source[indices][0].to(device)).cpu().numpy()
            rows += len(indices)
            now = time.monotonic()

            def where(rows: int = rows, seconds: float = now - start) -> str:
                rate = (rows - first) / max(seconds, 1e-9)
                return f"features of the {name} rows · {rows:,} of {len(texts):,} · {rate:,.0f} a second"

            progress.update(where)
            if now - saved > SAVE_EVERY:
                features.flush()
                write_json(position, {"batches": number})
                saved = now
    features.flush()
    partial.replace(path)
    position.unlink(missing_ok=True)


def allocate(path: Path) -> None:
    """Reserve the space of a file on its disk. If there is not enough, writing to a mapped file would end the process.

    Raises:
        OSError: the disk is full; the file is removed.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):  # the file system cannot
            return
        path.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from None


def _newest(parent: Path, name: str) -> Path:
    """A folder for one version, whose parent keeps a few others."""
    if (parent / name).is_dir():
        os.utime(parent / name)
    others = [folder for folder in parent.glob("*") if folder.name != name and folder.is_dir()]
    for old in sorted(others, key=lambda folder: folder.stat().st_mtime)[: -KEPT + 1]:
        shutil.rmtree(old)
    return parent / name
