"""Explanations: contributions sum to the logits for any text, and the page needs no network and no other script."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from torch import Tensor
from typer.testing import CliRunner

from headway import cli
from headway.data.batching import pad
from headway.data.tokenization import fitting
from headway.data.tokenization import tokenizer as tokenization
from headway.data.tokenization.tokenizer import TextEncoder
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.model.classifier import AttentionClassifier
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier, ngrams
from headway.params import Params
from headway.reporting.explanation import coloured, maps, page
from headway.serving.explain import Explanation, attention, explain, integral
from headway.serving.explain.attention import integrated_gradients
from headway.serving.package import ModelPackage
from tests.real_texts import chinese, english, languages, translations

CLASSES = ["negative", "positive", "<b>unsure</b>"]
MAX_LENGTH, SEEN, WINDOW = 40, 24, 8
LONG = "a wonderful film from the first minute " + "and then it goes on and on " * 12 + "what a dreadful and boring end"
TEXTS = [
    "a charming , funny and quietly moving film",
    "not bad , not bad at all , but bad enough",
    "tedious",
    "🤷 zxqv",
    'one <i>more</i> & "two" <script>alert(1)</script>',
    LONG,
]


ENOUGH = attention.STEPS


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """An integral that is quick and rough, which all but the tests about it can do with."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a second one only costs time where everything is tiny
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "STEPS", (4,))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer(reviews: Any) -> Tokenizer:
    return tokenization.load(reviews.layout.encoded / "tokenizer.json")


def random_package(params: Params, tokenizer: Tokenizer) -> ModelPackage:
    """A model of three classes with random weights, which cuts long texts twice and the rest into windows."""
    knobs = {"d_model": 8, "dim_feedforward": 16, "n_layers": 2, "bigram_buckets": 64}
    lengths = {"max_length": SEEN, "window_size": WINDOW}
    sizes = params.override({f"model.{name}": value for name, value in (knobs | lengths).items()}).model
    torch.manual_seed(0)
    attention = AttentionClassifier(sizes, tokenizer.get_vocab_size(), len(CLASSES))
    keys = ngrams(pad(TextEncoder(tokenizer, MAX_LENGTH)(TEXTS)), 3)[1].unique()[::2].contiguous()  # half of them are known
    linear = NgramClassifier(len(keys), len(CLASSES), 3)
    linear.keys = keys
    made = JointClassifier(linear, attention)
    with torch.no_grad():
        for weight in (linear.weight, linear.bias, attention.output.weight, attention.output.bias):
            weight.normal_()
        attention.bigram_embedding.weight[1:].normal_(std=0.1)
        made.weights[:] = torch.tensor([0.7, 0.4])
    return ModelPackage(made, TextEncoder(tokenizer, MAX_LENGTH), CLASSES)


@pytest.fixture(scope="module")
def package(reviews: Any, tokenizer: Tokenizer) -> ModelPackage:
    return random_package(reviews.params, tokenizer)


def some_texts() -> st.SearchStrategy[str]:
    words = " ".join(TEXTS).split()
    return st.sampled_from(TEXTS) | st.lists(st.sampled_from(words), min_size=1, max_size=60).map(" ".join)


def tokens_of(package: ModelPackage, text: str) -> Tensor:
    return pad(package.encoder([text]))


# What adds up.


@given(some_texts())
@settings(max_examples=15)
def test_the_parts_add_up_to_the_probabilities_of_the_model(package: ModelPackage, text: str) -> None:
    found = explain(package, text)
    assert found.linear is not None
    expected = package.predict_proba([text])[0]
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert found.predicted == expected.argmax()
    logits = torch.from_numpy(found.linear.logits + found.attention.logits)
    assert logits.mean().item() == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(logits.softmax(dim=0).numpy(), expected, atol=1e-5)


@given(some_texts())
@settings(max_examples=25)
def test_the_tokens_and_the_bias_add_up_to_the_linear_parts_logit_exactly(package: ModelPackage, text: str) -> None:
    found = explain(package, text)
    assert found.linear is not None
    assert package.classifier.ngrams is not None
    logits = package.classifier.ngrams(tokens_of(package, text))[0].double()
    bias = package.classifier.ngrams.bias.double()
    expected = 0.7 * (logits - logits.mean())[found.predicted]
    expected_bias = 0.7 * (bias - bias.mean())[found.predicted]
    assert found.linear.bias == pytest.approx(expected_bias.item(), abs=1e-6)
    assert found.linear.tokens.sum() == pytest.approx((expected - expected_bias).item(), abs=1e-5)
    assert found.linear.logits[found.predicted] == pytest.approx(expected.item(), abs=1e-5)


@given(some_texts())
@settings(max_examples=25)
def test_a_token_gets_its_share_of_every_known_ngram_that_contains_it(package: ModelPackage, text: str) -> None:
    found = explain(package, text)
    model, tokens = package.classifier.ngrams, tokens_of(package, text)
    assert found.linear is not None
    assert model is not None
    _, places, values = model.features(tokens)
    value_of = dict(zip(model.keys[places].tolist(), values.tolist(), strict=True))
    weight_of = dict(zip(model.keys.tolist(), model.weight.tolist(), strict=True))
    all_keys = ngrams(tokens, 3)[1].tolist()
    expected = np.zeros(tokens.shape[1])
    for order in (1, 2, 3):
        for start in range(tokens.shape[1] - order + 1):
            (key,) = ngrams(tokens[:, start : start + order], order)[1].tolist()[-1:]
            if key in value_of:
                weight = weight_of[key][found.predicted] - np.mean(weight_of[key])
                expected[start : start + order] += 0.7 * value_of[key] * weight / all_keys.count(key) / order
    np.testing.assert_allclose(found.linear.tokens, expected, atol=1e-6)


def test_ngrams_are_listed_as_in_the_text_strongest_first(package: ModelPackage) -> None:
    found = explain(package, "Not bad, not <br/> bad at all")
    assert found.linear is not None
    named = [*found.linear.strongest_for, *found.linear.strongest_against]
    assert sum(one.contribution for one in named) == pytest.approx(found.linear.tokens.sum(), abs=1e-6)  # few enough for all
    assert {one.surface for one in named} <= {
        *("Not", "bad", ",", "at", "all", "Not bad", "bad,", ", not", "bad at", "at all"),
        *("Not bad,", "bad, not", ", not bad", "not bad at", "bad at all"),
    }
    assert {one.surface: one.count for one in named if one.surface in ("Not", "bad", "Not bad")}.items() <= {
        ("Not", 2),
        ("bad", 2),
        ("Not bad", 2),
    }
    assert all(one.contribution > 0 for one in found.linear.strongest_for)
    sizes = [abs(one.contribution) for one in found.linear.strongest_against]
    assert sizes == sorted(sizes, reverse=True)


@given(some_texts())
@settings(max_examples=10)
def test_integrated_gradients_are_complete_within_a_few_per_cent(package: ModelPackage, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "STEPS", ENOUGH)
        found = explain(package, text)
    part, predicted = found.attention, found.predicted
    model, tokens = package.classifier.attention, tokens_of(package, text)
    with torch.no_grad():
        logits = 0.4 * model(tokens)[0]
        blank = 0.4 * model.classify(torch.zeros(1, len(part.seen), 8), torch.ones(1, len(part.seen), dtype=torch.bool))[0]
    difference = ((logits - logits.mean()) - (blank - blank.mean()))[predicted].item()
    assert part.tokens.sum() == pytest.approx(difference, abs=0.03 * np.abs(part.tokens).sum())
    assert part.tokens.sum() + part.left_over == pytest.approx(difference, abs=1e-5)
    assert part.blank + part.tokens.sum() + part.left_over == pytest.approx(part.logits[predicted], abs=1e-5)


def test_integrated_gradients_are_the_mean_gradient_along_the_line_from_a_blank_text(package: ModelPackage) -> None:
    model = package.classifier.attention
    torch.manual_seed(2)
    words, pairs = torch.randn(2, 11, 8) / 4
    gradients = []
    for done in (torch.arange(300) + 0.5) / 300:
        x = (done * (words + pairs))[None].requires_grad_()
        logits = model.classify(x, torch.ones(1, 11, dtype=torch.bool))[0]
        gradients.append(torch.autograd.grad(logits[1] - logits.mean(), x)[0][0])
    gradient = torch.stack(gradients).mean(dim=0)
    expected = (gradient * words).sum(dim=1)
    for place, added in enumerate((gradient * pairs).sum(dim=1)):  # by the pair of this token and the one before
        expected[place] += added / 2
        expected[max(0, place - 1)] += added / 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "STEPS", ENOUGH)
        found = integrated_gradients(model, words, pairs, 1)
    np.testing.assert_allclose(found, expected, atol=0.02 * float(expected.abs().sum()))


def test_the_contribution_of_a_bigram_is_divided_between_its_tokens(package: ModelPackage) -> None:
    model = package.classifier.attention
    torch.manual_seed(1)
    pair = torch.stack([torch.zeros(8), torch.randn(8)])
    first, second = integrated_gradients(model, torch.zeros(2, 8), pair, 0).tolist()
    assert first == second != 0
    first, second = integrated_gradients(model, torch.zeros(2, 8), pair.flip(0), 0).tolist()
    assert first != second == 0  # the first token's partner is the start of the text


def test_integration_steps_increase_until_the_residual_is_small(
    package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_over = []
    for steps in [(2,), (2, 256)]:
        monkeypatch.setattr(attention, "STEPS", steps)
        left_over.append(abs(explain(package, TEXTS[1]).attention.left_over))
    assert left_over[1] < left_over[0] / 10


# Where attention looks.


@pytest.mark.parametrize("text", TEXTS)
def test_maps_and_pooling_are_the_weights_that_the_model_uses(package: ModelPackage, text: str) -> None:
    part = explain(package, text).attention
    S = len(part.seen)
    assert min(SEEN, tokens_of(package, text).shape[1]) == S
    np.testing.assert_allclose(part.pooling.sum(axis=0), 1, atol=1e-5)
    assert part.maps is not None
    size = min(WINDOW, S)
    assert part.window_size == size
    for layer in part.maps:
        assert layer.shape == (-(-S // size), 2, size, size)
        np.testing.assert_allclose(layer.sum(axis=-1), 1, atol=1e-5)
    model, tokens = package.classifier.attention, tokens_of(package, text)[:, part.seen]
    with torch.no_grad():
        encoded, weights = model.encoder.forward_with_weights(model.embed(tokens), tokens != 0)
        assert torch.equal(torch.from_numpy(part.pooling), model.pooling.weights(encoded, tokens != 0)[0])
    assert all(np.array_equal(ours, theirs[0]) for ours, theirs in zip(part.maps, weights, strict=True))


def test_both_truncations_of_a_long_text_are_shown(package: ModelPackage) -> None:
    found = explain(package, LONG)
    n_tokens = len(package.encoder.tokenizer.encode(LONG).ids)
    assert n_tokens > MAX_LENGTH > SEEN
    assert found.kept.tolist() == [*range(20), *range(n_tokens - 20, n_tokens)]
    assert found.attention.seen.tolist() == [*range(12), *range(28, 40)]
    parts = coloured.pieces(LONG, found.spans[found.attention.seen], found.kept[found.attention.seen])
    assert [piece.kind for piece in parts].count("unseen") == 1
    assert [piece.kind for piece in parts].count("token") == SEEN
    html = page.render(found)
    assert f"40 tokens of {n_tokens}, half from the beginning and half from the end" in html
    assert "the attention part reads the first and the last 12 of them" in html
    assert html.count('class="unseen"') == 4  # n-grams, gradients, pooling, the window across the cut


def test_only_some_windows_are_shown_if_there_are_many_and_no_maps_above_the_limit(
    package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = explain(package, LONG)
    monkeypatch.setattr(maps, "MAX_WEIGHTS", 2 * 4 * WINDOW**2)
    html = page.render(found)
    assert re.findall(r"Window (\d+): tokens (\d+) to (\d+)", html) == [("1", "1", "8"), ("3", "17", "24")]
    assert "the first and the last of 3 windows are shown" in html
    monkeypatch.setattr(integral, "MAX_WEIGHTS", 10)
    without = explain(package, LONG)
    assert without.attention.maps is None
    np.testing.assert_allclose(without.attention.pooling, found.attention.pooling, atol=1e-6)
    assert "This text has too many weights to draw." in page.render(without)


# The text and its tokens.


@pytest.fixture(scope="module", params=["word", "bpe", "unigram"])
def any_tokenizer(request: pytest.FixtureRequest, reviews: Any) -> Tokenizer:
    sizes = reviews.params.tokenizer.model_copy(update={"kind": request.param, "vocabulary_size": 600})
    texts = english(200)[0] + chinese(100)[0] + translations("ar")[:100]
    return fitting.fit(texts, sizes, fitting.measure(texts))


def test_the_pieces_of_a_text_in_any_language_are_the_text(any_tokenizer: Tokenizer) -> None:
    texts = [*TEXTS, "½ ﬁlm  nai\u0308ve\u0301 🤷‍♀️\t㍿\u202e!", *english(30, "imdb")[0], *chinese(30)[0]]
    texts += [text for language in languages()[:50] for text in translations(language)[:5]]
    for text in texts:
        encoding = any_tokenizer.encode(text, add_special_tokens=False)
        assert encoding.ids == any_tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids
        spans = np.array(encoding.offsets or [(0, 0)], dtype=np.int64)
        found = coloured.pieces(text, spans, np.arange(len(spans)))
        shown = [piece for piece in found if piece.text != "∅"]
        assert all(len(piece.text) < coloured.LONGEST_GAP for piece in shown)
        assert "".join(piece.text for piece in shown) == text
        numbers = [number for piece in found if piece.kind == "token" for number in range(piece.first, piece.last + 1)]
        assert numbers == list(range(len(spans)))


def test_characters_that_several_tokens_share_are_shown_once_with_their_sum(package: ModelPackage) -> None:
    text = "a ㍿ film"  # four tokens of one character
    found = explain(package, text)
    assert found.linear is not None
    assert len(found.spans) > 3
    values = np.arange(1.0, len(found.spans) + 1)
    _, _, shared, *_ = coloured.coloured(text, found.spans, found.kept, values)
    assert shared.piece.text == "㍿"
    assert shared.value == values[1:-1].sum()
    assert shared.title == f"+{values[1:-1].sum():.3f}, {len(values) - 2} tokens"


# The page.


class Reader(HTMLParser):
    """Tags, attributes and what is written, as a browser understands them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "canvas"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "canvas":
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("text", [*TEXTS, "هذا فيلم جميل", "a\x00b\u202e", '" onmouseover="alert(1)'])
def test_the_page_loads_nothing_and_runs_no_script_but_its_own(package: ModelPackage, text: str) -> None:
    html = page.render(explain(package, text))
    read = Reader(html)
    assert not read.open
    assert [tag for tag, _ in read.tags].count("script") == 1
    assert not {"src", "href", "onmouseover"} & {name for _, attributes in read.tags for name in attributes}
    assert "://" not in html
    assert "url(" not in html
    assert "\x00" not in html
    policy = next(attributes["content"] for tag, attributes in read.tags if "http-equiv" in attributes)
    script = html.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_the_page_shows_the_text_in_its_own_direction_with_a_number_per_token(package: ModelPackage) -> None:
    found = explain(package, TEXTS[1])
    assert found.linear is not None
    read = Reader(page.render(found))
    assert [attributes["dir"] for _, attributes in read.tags if "text" in (attributes.get("class") or "")] == ["auto"] * 6
    assert "".join(read.words).count(TEXTS[1]) == 4  # the maps' windows hold it in parts
    titles = [attributes["title"] for tag, attributes in read.tags if tag == "span" and "title" in attributes]
    T = len(found.spans)
    assert titles[:T] == [page.signed(value) for value in found.linear.tokens]
    assert titles[T : 2 * T] == [page.signed(value) for value in found.attention.tokens]
    assert titles[2 * T].startswith(f"{found.attention.pooling[0].mean():.1%}: head 1 ")
    kinds = [attributes["class"] for tag, attributes in read.tags if tag == "span" and "title" in attributes]
    assert kinds[:T] == ["for" if value >= 0 else "against" for value in found.linear.tokens]


def test_the_page_carries_the_weights_of_the_maps(package: ModelPackage) -> None:
    found = explain(package, TEXTS[0])
    assert found.attention.maps is not None
    read = Reader(page.render(found))
    (room,) = (attributes for _, attributes in read.tags if attributes.get("class") == "window")
    carried = np.frombuffer(base64.b64decode(room["data-weights"] or ""), dtype="<u2") / 65_535
    n = len(found.attention.seen)
    assert room["data-length"] == str(n)
    expected = np.concatenate([layer[0] for layer in found.attention.maps])
    np.testing.assert_allclose(carried.reshape(4, n, n), expected, atol=1e-5)
    assert [tag for tag, _ in read.tags].count("canvas") == 4


def test_the_page_says_what_attention_weights_do_not_prove(package: ModelPackage) -> None:
    html = page.render(explain(package, TEXTS[0]))
    assert "Attention weights do not show why the model made a prediction." in html
    assert "Jain &amp; Wallace 2019" in html
    assert "Wiegreffe &amp; Pinter 2019" in html


def test_the_page_says_first_when_the_parts_pull_in_different_directions(package: ModelPackage) -> None:
    found = explain(package, TEXTS[0])
    assert found.linear is not None
    same = replace(found.linear, logits=found.attention.logits)
    assert "The parts of the model disagree" not in page.render(replace(found, linear=same))
    opposite = replace(found.linear, logits=-found.attention.logits)
    html = page.render(replace(found, linear=opposite))
    assert "The parts of the model disagree" in html.split("</header>")[0]
    assert "each coloured text has a scale of its own" in html


def test_a_model_without_a_linear_part_is_explained_by_attention_alone(package: ModelPackage) -> None:
    alone = JointClassifier(None, package.classifier.attention)
    found = explain(ModelPackage(alone, package.encoder, CLASSES), TEXTS[0])
    assert found.linear is None
    np.testing.assert_allclose(torch.from_numpy(found.attention.logits).softmax(dim=0), found.probabilities, atol=1e-5)
    assert "This model has no linear part." in page.render(found)
    label, parts = page.describe(found)
    assert label.split("\t")[0] == CLASSES[found.predicted]
    assert "n-grams" not in parts


# Mistakes, and the command.


def test_a_text_that_is_not_unicode_is_refused(package: ModelPackage) -> None:
    with pytest.raises(HeadwayError, match=r"not valid Unicode at character 5"):
        explain(package, "good\udcff")


def test_the_command_writes_the_page_and_prints_its_gist(
    package: ModelPackage, project: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    monkeypatch.setattr("headway.promotion.champion.load_champion", lambda registry: package)
    file = tmp_path / "new" / "page.html"
    done = CliRunner().invoke(cli.app, ["explain", TEXTS[1], "--out", str(file)], catch_exceptions=False)
    found: Explanation = explain(package, TEXTS[1])
    assert done.output.splitlines() == [*page.describe(found), f"page: {file}"]
    label, parts, strongest_for, against, _ = done.output.splitlines()
    name, probability = label.split("\t")
    assert name == CLASSES[found.predicted]
    assert float(probability) == pytest.approx(found.probabilities.max(), abs=1e-4)
    assert re.fullmatch(r"logit above the mean of all classes: n-grams [+−]\d\.\d{3}, attention [+−]\d\.\d{3}", parts)
    assert strongest_for.startswith(f"for {name}: ")
    assert against.startswith("against: ")
    assert Reader(file.read_text(encoding="utf-8")).words
    again = CliRunner().invoke(cli.app, ["explain", TEXTS[1], "--out", str(file)])
    assert isinstance(again.exception, HeadwayError)
    again = CliRunner().invoke(cli.app, ["explain", TEXTS[1], "--out", str(file), "--force"], catch_exceptions=False)
    assert again.exit_code == 0
