"""Rows encoded with a tokenizer that the search proposes: computed once, and again after a change of the inputs."""

from __future__ import annotations

import numpy as np

from headway.data.tokenization import tokenizer, vectors
from headway.layout import Layout
from headway.params import Params
from headway.stages.tokenize.cached import encoded_with


def test_rows_are_encoded_once_and_again_after_a_change_of_the_code_that_encodes(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    chosen = params.override({"tokenizer.vocabulary_size": 400}).tokenizer
    before = encoded_with(chosen, params.tokenizer, layout)
    assert encoded_with(chosen, params.tokenizer, layout) == before
    code = layout.root / "src" / "headway" / "data" / "markup.py"
    code.parent.mkdir(parents=True)
    code.write_text("changed = True\n")
    after = encoded_with(chosen, params.tokenizer, layout)
    assert after != before
    assert after.is_dir()
    assert not before.exists()


def test_word_vectors_are_stored_with_the_tokenizer_and_read_again_after_a_change(
    tunable: tuple[Params, Layout],
) -> None:
    params, layout = tunable
    chosen = params.override({"tokenizer.word_vectors": "some.txt"}).tokenizer
    layout.vectors.mkdir(parents=True)
    for number in (1, 2):
        (layout.vectors / "some.txt").write_text(f"film {number} -1\nthe {number} 0.5\n", encoding="utf-8")
        folder = encoded_with(chosen, params.tokenizer, layout)
        found = vectors.load(folder)
        assert found is not None
        film = tokenizer.load(folder / "tokenizer.json").token_to_id("film")
        assert found[film].tolist() == [number, -1]
        assert np.flatnonzero(found.any(axis=1)).size == 2
