"""Stage tokenize: fits a tokenizer on the training split alone, and encodes every split as int32 Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from headway.data.text.scripts import share_without_spaces
from headway.data.text.splits import SPLITS
from headway.data.tokenization import encoded, fitting, pieces, tokenizer, vectors
from headway.files import fresh_folder, write_json
from headway.layout import Layout
from headway.params import Params, TokenizerParams
from headway.tables import read_batches

#: Encodes texts, in order, as token ids, int32, (length,) each.
Encode = Callable[[Iterable[str]], list[np.ndarray]]

UNLABELLED = "unlabelled"
BATCH_ROWS = 1_000


@dataclass(frozen=True)
class SplitTokens:
    """Statistics of an encoded split."""

    rows: int
    tokens: int
    median_length: float = 0.0  # in tokens
    full_length_share: float = 0.0  # share of texts that have ``tokenizer.max_length`` tokens, most of which were truncated
    unknown_share: float = 0.0  # share of unknown tokens

    @classmethod
    def of(cls, texts: encoded.EncodedTexts, max_length: int) -> SplitTokens:
        """Compute the statistics; all are 0 if there are no texts."""
        lengths = texts.lengths
        if not len(lengths):
            return cls(rows=0, tokens=0)
        return cls(
            rows=len(texts),
            tokens=len(texts.tokens),
            median_length=float(np.median(lengths)),
            full_length_share=round(float((lengths == max_length).mean()), 6),
            unknown_share=round(float((texts.tokens == tokenizer.UNKNOWN_ID).mean()), 6),
        )


@dataclass(frozen=True)
class TokenMetrics:
    """What ``metrics/tokens.json`` holds."""

    kind: str  # of the tokenizer: word, bpe or unigram
    vocabulary_size: int  # including special tokens
    script_shares: dict[str, float]  # share of letters by script in the training texts, the most frequent first
    share_without_spaces: float  # share of letters in scripts that do not separate words by spaces
    share_with_vectors: float | None  # share of tokens with a pretrained vector; None without ``tokenizer.word_vectors``
    splits: dict[str, SplitTokens]  # statistics by split, including ``unlabelled`` if there are unlabelled texts


def tokenize(params: Params, layout: Layout) -> TokenMetrics:
    """Write ``data/encoded``, with ``tokenizer.json`` and an Arrow file per split, and the token metrics.

    Unlabelled texts, if there are any, are encoded as another split with the label -1. HeadwayError if a split is missing or
    damaged, or the file of word vectors cannot be used.
    """
    names = [*SPLITS, *([UNLABELLED] if (layout.prepared / f"{UNLABELLED}.parquet").exists() else [])]
    with fresh_folder(layout.encoded) as folder:
        fitted, statistics = encode_splits(names, params.tokenizer, layout, folder)
        opened = {name: encoded.EncodedTexts.open(folder / f"{name}.arrow") for name in names}
        splits = {name: SplitTokens.of(texts, params.tokenizer.max_length) for name, texts in opened.items()}
        found = vectors.load(folder)
    letters = statistics.scripts.total()
    shares = [(name, round(count / letters, 6)) for name, count in statistics.scripts.most_common()]
    metrics = TokenMetrics(
        kind=fitting.kind_of(fitted),
        vocabulary_size=fitted.get_vocab_size(),
        script_shares={name: share for name, share in shares if share},
        share_without_spaces=round(share_without_spaces(statistics.scripts), 6),
        share_with_vectors=None if found is None else round(float(found.any(axis=1).mean()), 6),
        splits=splits,
    )
    write_json(layout.metrics("tokens"), asdict(metrics))
    return metrics


def encode_splits(
    names: Iterable[str], params: TokenizerParams, layout: Layout, folder: Path
) -> tuple[Tokenizer, fitting.TextStatistics]:
    """Write a tokenizer fitted on the training split, its word vectors if ``params`` name any, and the encoded splits."""
    train = SplitTexts(layout.prepared / "train.parquet")
    statistics = fitting.measure(train)
    fitted = fitting.fit(train, params, statistics)
    fitted.save(str(folder / "tokenizer.json"))
    if params.word_vectors:
        np.save(folder / vectors.FILE, vectors.read(layout.vectors / params.word_vectors, fitted))
    encoder, vocabulary = tokenizer.TextEncoder(fitted, params.max_length), pieces.vocabulary_of(fitted)
    for name in names:
        rows = encode_rows(layout.prepared / f"{name}.parquet", encoder)
        encoded.write(folder / f"{name}.arrow", rows, vocabulary)
    return fitted, statistics


class SplitTexts:
    """The texts of a split. Each iteration reads them from the file again, so that they are never all in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[str]:
        for batch in read_batches(self.path, "prepare", BATCH_ROWS, columns=["text"]):
            yield from batch["text"].to_pylist()


def encode_rows(path: Path, encoder: Encode) -> Iterator[encoded.EncodedBatch]:
    """Encode the rows of a split in batches. The label is -1 if the file has no labels."""
    for batch in read_batches(path, "prepare", BATCH_ROWS):
        labelled = "label_id" in batch.schema.names
        labels = batch["label_id"] if labelled else pa.array(np.full(batch.num_rows, -1, np.int32))
        yield encoded.EncodedBatch(batch["id"], labels, encoder(batch["text"].to_pylist()))
