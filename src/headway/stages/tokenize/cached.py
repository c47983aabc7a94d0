"""Rows encoded with other tokenizer knobs than those of params.yaml: what the search tries, and what its winner is trained on.

They lie in the scratch folder, under a key of the code, the texts and the knobs. The test split is not among them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from headway.data.tokenization import encoded, fitting, tokenizer
from headway.files import fresh_folder, sha256_of_file, sha256_of_json
from headway.layout import Layout
from headway.lineage import code_fingerprint
from headway.params import TokenizerParams
from headway.stages.tokenize import Texts, encode_rows, save

SPLITS = ("train", "validation")


def encoded_with(chosen: TokenizerParams, params: TokenizerParams, layout: Layout) -> Path:
    """A folder as tokenize makes it, with training and validation rows, the tokenizer fitted on all of the former.

    Args:
        chosen: the tokenizer's knobs.
        params: those of params.yaml, with which the stage tokenize has encoded already.

    Raises:
        HeadwayError: the knobs do not suit the texts.
    """
    if chosen == params:
        return layout.encoded
    sources = {name: layout.prepared / f"{name}.parquet" for name in SPLITS}
    inputs = [code_fingerprint(layout, "tokenize"), *(sha256_of_file(path) for path in sources.values())]
    texts = layout.scratch / "encoded" / sha256_of_json(inputs)[:16]
    for old in texts.parent.glob("*"):
        if old != texts:
            shutil.rmtree(old)
    vectors = layout.vectors / chosen.word_vectors
    made_with = [chosen.model_dump(), sha256_of_file(vectors) if vectors.is_file() else ""]
    folder = texts / sha256_of_json(made_with)[:16]
    if not folder.is_dir():
        train = Texts(sources["train"])
        fitted = fitting.fit(train, chosen, fitting.survey(train))
        encoder = tokenizer.TextEncoder(fitted, chosen.max_length)
        with fresh_folder(folder) as made:
            save(fitted, chosen, layout, made)
            for name, path in sources.items():
                encoded.write(made / f"{name}.arrow", encode_rows(path, encoder))
    return folder
