"""Tiny encoders with random weights, as transformers and model2vec save them, with small but real tokenizers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

FAMILIES = ("bert", "roberta", "modernbert")
WIDTH, POSITIONS = 32, 64
TEXTS = [
    "a charming , funny and quietly moving film",
    "tedious , and the plot is a mess",
    "it is neither good nor bad . nobody seems to care",
    "the best movie of the year ! Not dull at all.",
]
#: Special tokens in the order of their ids: padding, start, end, unknown.
BRACKETS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
ANGLES = ("<pad>", "<s>", "</s>", "<unk>")


def write_encoder(folder: Path, family: str, seed: int = 0, **sizes: Any) -> Path:
    """Write config.json, tokenizer.json and model.safetensors of a family in :data:`FAMILIES` into a new folder."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    tokenizer = wordpiece() if family == "bert" else byte_level_bpe(ANGLES if family == "roberta" else BRACKETS)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = ANGLES if family == "roberta" else BRACKETS
    padding, start, end, _ = (tokenizer.token_to_id(name) for name in special)
    settings = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        # RoBERTa's first positions, up to the id of its padding, are not used.
        "max_position_embeddings": POSITIONS + (padding + 1 if family == "roberta" else 0),
        "pad_token_id": padding,
        "bos_token_id": start,
        "eos_token_id": end,
        "initializer_range": 0.3,
        **sizes,
    }
    if family == "modernbert":
        settings |= {"cls_token_id": start, "sep_token_id": end, "local_attention": 8}
    torch.manual_seed(seed)
    encoder = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(family, **settings))
    encoder.save_pretrained(folder)
    return folder


def write_static(
    folder: Path,
    mapped: bool = False,
    weighted: bool = False,
    normalize: bool = False,
    kind: Any = np.float32,
    seed: int = 0,
) -> Path:
    """Write a static encoder as model2vec saves it into a new folder; its tokenizer still asks for special tokens."""
    tokenizer = wordpiece()
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    generator, size = np.random.default_rng(seed), tokenizer.get_vocab_size()
    vectors = generator.normal(size=(20 if mapped else size, WIDTH)) * (30 if kind == np.int8 else 1)
    tensors = {"embeddings": vectors.astype(kind)}
    if mapped:
        tensors["mapping"] = generator.integers(0, 20, size)
    if weighted:
        tensors["weights"] = generator.uniform(0.1, 2, size).astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": normalize}))
    return folder


def wordpiece() -> Tokenizer:
    """As BERT's: lower case, words split into pieces, [CLS] and [SEP] around."""
    return Tokenizer.from_str(_wordpiece())


@cache
def _wordpiece() -> str:
    # Once in a process: the library breaks ties between equally frequent pieces by chance.
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=list(BRACKETS), show_progress=False)
    tokenizer.train_from_iterator(repeated(), trainer)
    tokenizer.decoder = decoders.WordPiece()
    return str(surrounded(tokenizer, "[CLS]", "[SEP]").to_str())


def byte_level_bpe(special: tuple[str, ...]) -> Tokenizer:
    """As RoBERTa's: merges of bytes, with special tokens around."""
    return Tokenizer.from_str(_byte_level_bpe(special))


@cache
def _byte_level_bpe(special: tuple[str, ...]) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    # RoBERTa's padding has id 1, between the start and the end.
    names = [special[1], special[0], *special[2:]]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(repeated(), trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return str(surrounded(tokenizer, special[1], special[2]).to_str())


def surrounded(tokenizer: Tokenizer, start: str, end: str) -> Tokenizer:
    pair = [(name, tokenizer.token_to_id(name)) for name in (start, end)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", pair=f"{start} $A {end} $B {end}", special_tokens=pair
    )
    # Files on the Hub often ask for both.
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    return tokenizer


def repeated() -> Iterator[str]:
    for _ in range(20):
        yield from TEXTS
