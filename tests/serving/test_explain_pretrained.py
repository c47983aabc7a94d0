"""Explanations of models with a pretrained encoder: for each family contributions sum to the logit, and words cover the text."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from headway.data.batching import pad
from headway.data.tokenization import tokenizer as tokenization
from headway.data.tokenization.subwords import SubwordEncoder
from headway.data.tokenization.tokenizer import TextEncoder
from headway.encoders.config import FAMILIES
from headway.model import pretrained as model_of
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier, ngrams
from headway.model.pretrained import PretrainedClassifier
from headway.reporting.explanation import coloured, maps, page
from headway.serving.explain import Explanation, PretrainedPart, explain, integral, pretrained
from headway.serving.package import ModelPackage
from tests.real_texts import chinese, english, languages, translations
from tests.serving.test_explain import CLASSES, LONG, TEXTS, Reader

pytest.importorskip("transformers")

SEEN = 40
HEADS, LAYERS, HIDDEN = 4, 2, 16
#: What the configurations of some families call differently, or need besides the sizes.
SETTINGS: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 8},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "distilbert": {"dim": HIDDEN, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": 32},
    "electra": {"embedding_size": 8},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8},
}
ENOUGH = pretrained.ATTEMPTS


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """An integral that is quick and rough, which all but the tests about it can do with."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "ATTEMPTS", ((2, (0, 1)),))
        yield
    torch.set_num_threads(threads)


def subword_tokenizer(kind: str) -> Tokenizer:
    """A small tokenizer like those of the families: of BERT, of RoBERTa or of XLM-RoBERTa."""
    texts = [*TEXTS, *english(300)[0], *chinese(100)[0], *translations("ar")[:100]]
    first, last, padding, unknown = (
        ("[CLS]", "[SEP]", "[PAD]", "[UNK]") if kind == "wordpiece" else ("<s>", "</s>", "<pad>", "<unk>")
    )
    special = [padding, unknown, first, last]
    trainer: Any
    if kind == "wordpiece":
        made = Tokenizer(models.WordPiece(unk_token=unknown))
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=1500, special_tokens=special, show_progress=False)
    elif kind == "bytes":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    else:
        made = Tokenizer(models.Unigram())
        made.normalizer, made.pre_tokenizer = normalizers.Replace(" {2,}", " "), pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=2000, special_tokens=special, unk_token=unknown, show_progress=False)
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(name, made.token_to_id(name)) for name in (first, last)]
    )
    made.encode_special_tokens = True
    return made


@pytest.fixture(scope="module")
def wordpiece() -> Tokenizer:
    return subword_tokenizer("wordpiece")


@pytest.fixture(scope="module")
def text_encoder(reviews: Any) -> TextEncoder:
    return TextEncoder(tokenization.load(reviews.layout.encoded / "tokenizer.json"), 400)


def made_package(
    text_encoder: TextEncoder, subwords: Tokenizer, family: str = "bert", pooling: str = "mean", linear: bool = True
) -> ModelPackage:
    """A model of three classes with random weights."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": subwords.get_vocab_size(),
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 32,
        "max_position_embeddings": SEEN + 4,
        "initializer_range": 0.3,
        "pad_token_id": 0,
    }
    encoder = model_of.build({"model_type": family, **sizes, **SETTINGS.get(family, {})})
    attention = PretrainedClassifier(encoder, pooling, SEEN, len(CLASSES))
    keys = ngrams(pad(text_encoder(TEXTS)), 2)[1].unique()[::2].contiguous()
    ngram_part = NgramClassifier(len(keys), len(CLASSES), 2)
    ngram_part.keys = keys
    made = JointClassifier(ngram_part if linear else None, attention)
    with torch.no_grad():
        for weight in (ngram_part.weight, attention.output.weight, attention.output.bias):
            weight.normal_()
        for name, parameter in encoder.named_parameters():
            if name.endswith("bias"):  # zero before training
                parameter.normal_(std=0.3)
        made.weights[:] = torch.tensor([0.7, 0.4])
    return ModelPackage(made, text_encoder, CLASSES, SubwordEncoder(subwords, SEEN, strip_html=True))


@pytest.fixture(scope="module")
def package(text_encoder: TextEncoder, wordpiece: Tokenizer) -> ModelPackage:
    return made_package(text_encoder, wordpiece)


@pytest.fixture(scope="module", params=FAMILIES)
def of_family(request: pytest.FixtureRequest, text_encoder: TextEncoder, wordpiece: Tokenizer) -> ModelPackage:
    return made_package(text_encoder, wordpiece, request.param)


def part_of(found: Explanation) -> PretrainedPart:
    assert isinstance(found.attention, PretrainedPart)
    return found.attention


def model_in(package: ModelPackage) -> PretrainedClassifier:
    assert isinstance(package.classifier.attention, PretrainedClassifier)
    return package.classifier.attention


# What adds up.


@pytest.mark.parametrize("text", TEXTS)
def test_contributions_add_up_to_the_probabilities_of_the_model(of_family: ModelPackage, text: str) -> None:
    found = explain(of_family, text)
    part = part_of(found)
    assert found.linear is not None
    expected = of_family.predict_proba([text])[0]
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    logits = torch.from_numpy(found.linear.logits + part.logits)
    np.testing.assert_allclose(logits.softmax(dim=0).numpy(), expected, atol=1e-5)
    total = part.words.sum() + part.special + part.blank + part.left_over
    assert total == pytest.approx(part.logits[found.predicted], abs=1e-5)
    assert part.words.sum() + part.special == pytest.approx(part.contributions.sum(), abs=1e-9)


def test_contributions_are_the_mean_gradient_along_the_line_from_zero_embeddings(
    of_family: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "ATTEMPTS", ENOUGH)
    found = explain(of_family, TEXTS[0])
    part, model = part_of(found), model_in(of_family)
    table: Any = model.encoder.get_input_embeddings()  # type: ignore[operator]
    tokens = torch.from_numpy(part.subwords.ids)[None]
    gradients, share, rows = [], 1.0, []

    def scaled(module: Any, given: Any, output: torch.Tensor) -> torch.Tensor:
        rows.append((share * output.detach()).requires_grad_())
        return rows[-1]

    hook = table.register_forward_hook(scaled)  # so that the encoder reads ids, as in a prediction
    for root in (np.arange(400) + 0.5) / 400:
        share = root**8  # more points near zero, where the embeddings that some families normalise change
        logits = 0.4 * model(tokens)[0]
        (gradient,) = torch.autograd.grad(logits[found.predicted] - logits.mean(), rows[-1])
        gradients.append(8 * root**7 * gradient[0])
    hook.remove()
    with torch.no_grad():
        expected = (torch.stack(gradients).mean(dim=0) * table(tokens - 1)[0]).sum(dim=1)
    np.testing.assert_allclose(part.contributions, expected, atol=0.03 * float(expected.abs().sum()))
    assert abs(part.left_over) < 0.02 * np.abs(part.contributions).sum()


def test_the_blank_text_has_positions_only(package: ModelPackage) -> None:
    found = explain(package, TEXTS[0])
    model = model_in(package)
    with torch.no_grad():
        mask = torch.ones(1, len(part_of(found).subwords.ids), dtype=torch.bool)
        logits = 0.4 * model.classify(torch.zeros(*mask.shape, HIDDEN), mask)[0]
    assert part_of(found).blank == pytest.approx(float((logits - logits.mean())[found.predicted]), abs=1e-6)


def test_a_model_without_a_linear_part_is_explained_by_attention_alone(
    text_encoder: TextEncoder, wordpiece: Tokenizer
) -> None:
    found = explain(made_package(text_encoder, wordpiece, linear=False), TEXTS[0])
    assert found.linear is None
    np.testing.assert_allclose(torch.from_numpy(found.attention.logits).softmax(dim=0), found.probabilities, atol=1e-5)
    assert "This model has no linear part." in page.render(found)


# Words.


def spans_of(n_characters: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Spans in ascending order, some of them empty."""
    edges = st.lists(st.integers(0, n_characters), max_size=12).map(sorted)
    return edges.map(lambda found: list(zip(found[::2], found[1::2], strict=False)))


@given(spans_of(20), spans_of(20), st.integers(0, 6), st.integers(0, 2))
@settings(max_examples=200)
def test_a_word_is_a_chain_of_subwords_and_tokens_that_share_characters(
    subwords: list[tuple[int, int]], tokens: list[tuple[int, int]], cut: int, skipped: int
) -> None:
    kept = [index + (skipped if index >= cut else 0) for index in range(len(subwords))]
    spans, others = (np.array(found, dtype=np.int64).reshape(-1, 2) for found in (subwords, tokens))
    numbers = pretrained.word_numbers(spans, np.array(kept, dtype=np.int64), others).tolist()
    group = list(range(20))  # of each character
    for start, end in [*subwords, *tokens]:
        for character in range(start, end):
            joined, old = group[start], group[character]
            group = [joined if each == old else each for each in group]
    visible = [index for index, (start, end) in enumerate(subwords) if start < end]
    assert [number >= 0 for number in numbers] == [start < end for start, end in subwords]
    expected, number = [], 0
    for before, index in zip([None, *visible], visible, strict=False):
        if before is not None:
            same = group[subwords[before][0]] == group[subwords[index][0]]
            number += not (same and kept[index] - kept[before] == index - before)
        expected.append(number)
    assert [numbers[index] for index in visible] == expected


@pytest.mark.parametrize("kind", ["wordpiece", "bytes", "unigram"])
def test_words_cover_a_text_in_any_language(text_encoder: TextEncoder, kind: str) -> None:
    encoder = SubwordEncoder(subword_tokenizer(kind), 10_000, strip_html=False)
    texts = [*TEXTS, "½ ﬁlm  nai\u0308ve\u0301 🤷‍♀️\t㍿!", *english(30, "imdb")[0], *chinese(30)[0]]
    texts += [text for language in languages()[:50] for text in translations(language)[:5]]
    for text in texts:
        tokens = np.array(text_encoder.tokenizer.encode(text, add_special_tokens=False).offsets or [(0, 0)])
        found = pretrained.read_subwords(encoder, text, tokens)
        np.testing.assert_array_equal(found.ids, encoder([text])[0])
        spans, edges = found.word_spans, found.edges
        assert (spans[:, 0] < spans[:, 1]).all()
        assert (spans[1:, 0] >= spans[:-1, 1]).all()
        assert (edges[1:, 0] > edges[:-1, 1]).all()
        shown = coloured.pieces(text, spans, np.arange(len(spans)))
        assert "".join(piece.text for piece in shown) == text
        assert [piece.first for piece in shown if piece.kind == "token"] == list(range(len(spans)))
        if kind != "wordpiece":  # which drops control characters and accents
            assert not "".join(piece.text for piece in shown if piece.kind == "gap").strip()
        special = [name for name, word in zip(found.names, found.words, strict=True) if word < 0]
        assert special[0] == found.names[0]
        assert special[-1] == found.names[-1]


def test_subwords_are_merged_to_the_words_that_the_ngrams_have(package: ModelPackage) -> None:
    text = "Not sociologically<br />unpretentious, though."
    found = part_of(explain(package, text))
    words = [text[start:end] for start, end in found.subwords.word_spans]
    assert words == ["Not", "sociologically", "unpretentious", ",", "though", "."]
    assert len(found.contributions) > len(words) + 2
    assert [found.subwords.names[index] for index in np.flatnonzero(found.subwords.words < 0)] == ["[CLS]", "[SEP]"]
    first, last = found.subwords.edges[1].tolist()
    assert found.words[1] == pytest.approx(found.contributions[first : last + 1].sum(), abs=1e-12)


def test_truncation_of_a_long_text_is_shown(package: ModelPackage) -> None:
    found = explain(package, LONG)
    assert package.subwords is not None
    n_subwords = len(package.subwords.tokenizer.encode(LONG).ids)
    part = part_of(found)
    assert part.subwords.kept.tolist() == [*range(20), *range(n_subwords - 20, n_subwords)]
    shown = coloured.pieces(LONG, *maps.words(part))
    assert [piece.kind for piece in shown].count("unseen") == 1
    html = page.render(found)
    assert (
        f"the pretrained encoder reads 40 sub-words of {n_subwords}, half from the beginning and half from the end" in html
    )


def test_a_word_that_truncation_cuts_in_the_middle_becomes_two() -> None:
    spans, kept = np.array([(0, 2), (2, 4), (8, 10), (10, 12)]), np.array([0, 1, 4, 5])
    assert pretrained.word_numbers(spans, kept, np.array([(0, 12)])).tolist() == [0, 0, 1, 1]


# Attention weights.


def test_maps_are_the_softmax_of_queries_times_keys(package: ModelPackage) -> None:
    part, model = part_of(explain(package, TEXTS[0])), model_in(package)
    assert part.maps is not None
    encoder: Any = model.encoder
    with torch.no_grad():
        x = encoder.embeddings(input_ids=torch.from_numpy(part.subwords.ids)[None] - 1)[0]  # (S, d)
        own = encoder.encoder.layer[0].attention.self
        queries, keys = (made(x).view(len(x), HEADS, -1).transpose(0, 1) for made in (own.query, own.key))
        expected = (queries @ keys.transpose(1, 2) / (HIDDEN / HEADS) ** 0.5).softmax(dim=-1)
    np.testing.assert_allclose(part.maps[0], expected, atol=1e-5)


def test_every_family_has_maps_and_keeps_its_kernel(of_family: ModelPackage) -> None:
    config: Any = model_in(of_family).encoder.config
    before = config._attn_implementation
    part = part_of(explain(of_family, TEXTS[0]))
    S = len(part.subwords.names)
    assert part.maps is not None
    assert [layer.shape for layer in part.maps] == [(HEADS, S, S)] * LAYERS
    for layer in part.maps:
        np.testing.assert_allclose(layer.sum(axis=-1), 1, atol=1e-5)
    assert config._attn_implementation == before


def test_maps_are_left_out_step_by_step_if_there_are_too_many_weights(
    package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = explain(package, TEXTS[0])
    S = len(part_of(found).subwords.names)
    titles = re.compile(r"<summary>(.*)</summary>")
    everything = ["Mean of the heads of each layer", "Layer 1", "Layer 2"]
    monkeypatch.setattr(maps, "MAX_WEIGHTS", LAYERS * (HEADS + 1) * S**2)
    assert titles.findall(page.render(found)) == everything
    monkeypatch.setattr(maps, "MAX_WEIGHTS", LAYERS * (HEADS + 1) * S**2 - 1)
    html = page.render(found)
    assert titles.findall(html) == everything[:1]
    assert "The maps of single heads are too many for a page and left out" in html
    monkeypatch.setattr(maps, "MAX_WEIGHTS", LAYERS * S**2 - 1)
    assert "This text has too many weights to draw." in page.render(found)
    monkeypatch.setattr(integral, "MAX_WEIGHTS", LAYERS * HEADS * S**2 - 1)
    without = explain(package, TEXTS[0])
    assert part_of(without).maps is None
    np.testing.assert_allclose(part_of(without).contributions, part_of(found).contributions, atol=1e-9)
    assert "This text has too many weights to draw." in page.render(without)


@pytest.mark.parametrize("pooling", model_of.POOLINGS)
def test_the_share_of_a_subword_is_that_of_its_features_in_the_texts_vector(
    text_encoder: TextEncoder, wordpiece: Tokenizer, pooling: str
) -> None:
    package = made_package(text_encoder, wordpiece, pooling=pooling)
    found = explain(package, TEXTS[0])
    part, model = part_of(found), model_in(package)
    tokens = torch.from_numpy(part.subwords.ids)[None]
    with torch.no_grad():
        (encoded,) = model_of.hidden_states(model.encoder, tokens)
    encoded.requires_grad_()
    model_of.pool(encoded, tokens != 0, pooling).sum().backward()
    assert encoded.grad is not None
    np.testing.assert_allclose(part.shares, encoded.grad[0].sum(dim=1) / HIDDEN, atol=1e-6)
    sentence = {
        "layers": "means of the outputs of the encoder's layers",
        "mean": "is the mean of the encoder's outputs",
        "first": "at the first sub-word, [CLS]",
        "max": "largest value among all",
    }
    html = page.render(found)
    assert [name for name, words in sentence.items() if words in html] == [pooling]


# The page.


@pytest.mark.parametrize("text", [*TEXTS, "هذا فيلم جميل", "a\x00b\u202e", '" onmouseover="alert(1)'])
def test_the_page_is_whole_and_runs_no_script_but_its_own(package: ModelPackage, text: str) -> None:
    html = page.render(explain(package, text))
    read = Reader(html)
    assert not read.open
    assert [tag for tag, _ in read.tags].count("script") == 1
    assert not {"src", "href", "onmouseover"} & {name for _, attributes in read.tags for name in attributes}


def test_the_page_has_a_number_for_each_word_and_the_weights_of_the_maps(package: ModelPackage) -> None:
    found = explain(package, TEXTS[0])
    part = part_of(found)
    read = Reader(page.render(found))
    titles = [attributes["title"] or "" for tag, attributes in read.tags if tag == "span" and "title" in attributes]
    own = titles[len(found.spans) :]
    assert [title.partition(",")[0] for title in own] == [page.signed(value) for value in part.words]
    several = [last - first + 1 for first, last in part.subwords.edges.tolist()]
    assert [title.partition(", ")[2] for title in own] == [f"{n} sub-words" if n > 1 else "" for n in several]
    panels = [attributes for _, attributes in read.tags if attributes.get("class") == "window"]
    assert part.maps is not None
    n = len(part.subwords.names)
    for panel, expected in zip(panels, [np.stack([heads.mean(axis=0) for heads in part.maps]), *part.maps], strict=True):
        carried = np.frombuffer(base64.b64decode(panel["data-weights"] or ""), dtype="<u2") / 65_535
        np.testing.assert_allclose(carried.reshape(-1, n, n), expected, atol=1e-5)
        assert panel["data-length"] == str(n)
    words = [attributes for _, attributes in read.tags if attributes.get("class") == "word"]
    edges = [(int(one["data-first"] or ""), int(one["data-last"] or "")) for one in words[: len(words) // len(panels)]]
    assert edges == [(0, 0), *map(tuple, part.subwords.edges.tolist()), (n - 1, n - 1)]
    inside = np.where(part.subwords.words >= 0, np.abs(part.contributions), 0)
    assert panels[0]["data-start"] == str(part.subwords.words[inside.argmax()] + 1)


def test_the_terms_on_the_page_sum_to_the_logit(package: ModelPackage) -> None:
    found = explain(package, TEXTS[0])
    assert found.linear is not None
    terms = page._terms(found)
    assert ("attention", "special sub-words: [CLS], [SEP]") in [(part, name) for part, name, _ in terms]
    total = found.linear.logits[found.predicted] + found.attention.logits[found.predicted]
    assert sum(value for _, _, value in terms) == pytest.approx(total, abs=1e-5)
