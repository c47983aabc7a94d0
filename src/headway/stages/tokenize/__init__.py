"""Stage tokenize: a tokenizer that has seen training texts only, and every split as int32 Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from headway.data.text.splits import SPLITS
from headway.data.tokenization import encoded, fitting, tokenizer, vectors
from headway.files import fresh_folder, write_json
from headway.layout import Layout
from headway.params import Params, TokenizerParams
from headway.tables import read_batches

UNLABELLED = "unlabelled"
ROWS = 1_000


def tokenize(params: Params, layout: Layout) -> dict[str, Any]:
    """Write ``data/encoded``: ``tokenizer.json`` and an Arrow file a split; and the token metrics.

    Texts without labels, if prepare left some, are encoded as one more split, with the label -1.
    """
    train = Texts(layout.prepared / "train.parquet")
    seen = fitting.survey(train)
    fitted = fitting.fit(train, params.tokenizer, seen)
    report: dict[str, Any] = {
        "kind": fitting.kind_of(params.tokenizer, seen),
        "script_shares": shares(seen.scripts),
        "share_without_spaces": round(seen.share_without_spaces, 6),
        "vocabulary_size": fitted.get_vocab_size(),
    }
    unlabelled = [UNLABELLED] if (layout.prepared / f"{UNLABELLED}.parquet").exists() else []
    with fresh_folder(layout.encoded) as folder:
        report |= save(fitted, params.tokenizer, layout, folder)
        encoder = tokenizer.TextEncoder(fitted, params.tokenizer.max_length)
        for name in [*SPLITS, *unlabelled]:
            encoded.write(folder / f"{name}.arrow", encode_rows(layout.prepared / f"{name}.parquet", encoder))
            report[name] = summary(encoded.EncodedTexts.open(folder / f"{name}.arrow"), params.tokenizer.max_length)
    write_json(layout.metrics("tokens"), report)
    return report


def save(fitted: Tokenizer, params: TokenizerParams, layout: Layout, folder: Path) -> dict[str, float]:
    """Write the tokenizer and, where params.yaml names a file of them, its words' vectors; the metric that belongs to these.

    Raises:
        HeadwayError: the file of vectors cannot be used.
    """
    fitted.save(str(folder / "tokenizer.json"))
    if not params.word_vectors:
        return {}
    found = vectors.read(layout.vectors / params.word_vectors, fitted)
    np.save(folder / vectors.FILE, found)
    return {"share_with_vectors": round(float(found.any(axis=1).mean()), 6)}


class Texts:
    """The texts of a split, read from its file anew whenever they are gone through."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[str]:
        for batch in read_batches(self.path, "prepare", ROWS, columns=["text"]):
            yield from batch["text"].to_pylist()


def encode_rows(path: Path, encoder: tokenizer.TextEncoder) -> Iterator[encoded.Rows]:
    """A split's ids, labels and encoded texts, so many rows at a time; the label is -1 where the file has none."""
    for batch in read_batches(path, "prepare", ROWS):
        labelled = "label_id" in batch.schema.names
        labels = batch["label_id"] if labelled else pa.array(np.full(batch.num_rows, -1, np.int32))
        yield batch["id"], labels, encoder(batch["text"].to_pylist())


def shares(counts: dict[str, int]) -> dict[str, float]:
    """Counts as shares of their sum, largest first; what rounds to nothing is left out."""
    total = sum(counts.values())
    rounded = {name: round(count / total, 6) for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))}
    return {name: share for name, share in rounded.items() if share}


def summary(texts: encoded.EncodedTexts, max_length: int) -> dict[str, Any]:
    """How many texts and tokens, how long, how many texts are at the limit, and how many tokens are unknown."""
    lengths = texts.lengths
    if not len(lengths):
        return {"rows": 0, "tokens": 0}
    return {
        "rows": len(texts),
        "tokens": len(texts.tokens),
        "median_length": float(np.median(lengths)),
        "full_length_share": round(float((lengths == max_length).mean()), 6),
        "unknown_share": round(texts.count(tokenizer.UNKNOWN_ID) / len(texts.tokens), 6),
    }
