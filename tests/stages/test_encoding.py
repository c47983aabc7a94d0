"""Rows encoded with other knobs than those of params.yaml: made once, and anew when what they are made of has changed."""

from __future__ import annotations

from headway.layout import Layout
from headway.params import Params
from headway.stages.encoding import encoded_with


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
