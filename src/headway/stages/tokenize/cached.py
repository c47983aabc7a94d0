"""Training and validation rows encoded with other tokenizer knobs than those in params.yaml, for trials and for their winner.

They are cached in the scratch folder, under a hash of the code, the texts and the knobs. The test split is never encoded here.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from headway.data.tokenization import encoded, fitting, tokenizer
from headway.files import fresh_folder, sha256_of_file, sha256_of_json
from headway.layout import Layout
from headway.lineage import code_fingerprint
from headway.params import TokenizerParams
from headway.stages.tokenize import SplitTexts, encode_rows, save

SPLITS = ("train", "validation")


def encoded_with(chosen: TokenizerParams, params: TokenizerParams, layout: Layout) -> Path:
    """A folder with the tokenizer and the encoded splits, in the format of the stage tokenize; created if it is not cached.

    Args:
        chosen: tokenizer knobs to encode with.
        params: those of params.yaml, for which the output of the stage tokenize is returned.

    Raises:
        HeadwayError: the file of word vectors cannot be used.
    """
    if chosen == params:
        return layout.encoded
    sources = {name: layout.prepared / f"{name}.parquet" for name in SPLITS}
    inputs = [code_fingerprint(layout, "tokenize"), *(sha256_of_file(path) for path in sources.values())]
    cache = layout.scratch / "encoded" / sha256_of_json(inputs)[:16]
    for outdated in cache.parent.glob("*"):
        if outdated != cache:
            shutil.rmtree(outdated)
    vectors = layout.vectors / chosen.word_vectors
    knobs = [chosen.model_dump(), sha256_of_file(vectors) if vectors.is_file() else ""]
    folder = cache / sha256_of_json(knobs)[:16]
    if not folder.is_dir():
        train = SplitTexts(sources["train"])
        fitted = fitting.fit(train, chosen, fitting.measure(train))
        encoder = tokenizer.TextEncoder(fitted, chosen.max_length)
        with fresh_folder(folder) as partial:
            save(fitted, chosen, layout, partial)
            for name, path in sources.items():
                encoded.write(partial / f"{name}.arrow", encode_rows(path, encoder))
    return folder
