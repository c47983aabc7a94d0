"""Training and validation rows encoded with other tokenizer knobs than those in params.yaml, for trials and for their winner.

They are cached in the scratch folder, under a hash of the code, the texts and the knobs. The test split is never encoded here.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from headway.files import fresh_folder, sha256_of_file, sha256_of_json
from headway.layout import Layout
from headway.lineage import code_fingerprint
from headway.params import TokenizerParams
from headway.stages.tokenize import encode_splits

SPLITS = ("train", "validation")


def encoded_with(chosen: TokenizerParams, params: TokenizerParams, layout: Layout) -> Path:
    """A folder with the tokenizer and the splits encoded with the ``chosen`` knobs, in the format of the stage tokenize.

    It is created if it is not cached. If ``chosen`` are the knobs of ``params``, it is the output of the stage.
    """
    if chosen == params:
        return layout.encoded
    sources = [layout.prepared / f"{name}.parquet" for name in SPLITS]
    inputs = [code_fingerprint(layout, "tokenize"), *map(sha256_of_file, sources)]
    cache = layout.scratch / "encoded" / sha256_of_json(inputs)[:16]
    for outdated in cache.parent.glob("*"):
        if outdated != cache:
            shutil.rmtree(outdated)
    vectors = layout.vectors / chosen.word_vectors
    knobs = [chosen.model_dump(), sha256_of_file(vectors) if vectors.is_file() else ""]
    folder = cache / sha256_of_json(knobs)[:16]
    if not folder.is_dir():
        with fresh_folder(folder) as partial:
            encode_splits(SPLITS, chosen, layout, partial)
    return folder
