"""Benchmarks of a pretrained encoder: rows, folds, and the ideas that are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks import accuracy, shipped
from benchmarks.accuracy import encoder_targets, scores_of
from benchmarks.encoder import fits, ideas, rows, speed
from benchmarks.encoder.fits import ENCODER, EncoderFits, Stopwatch
from benchmarks.folds import BASELINE, JOINT, PARTS, Folds
from headway.data.batching import pad
from headway.data.text.splits import SPLITS
from headway.data.tokenization.encoded import EncodedTexts
from headway.model import pretrained
from headway.params import Params
from tests.tiny_encoders import TEXTS

LABELS = np.array([1, 0, 0, 1])


@pytest.fixture
def params(params: Params, tiny_encoders: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.setattr(rows, "PROJECT", tiny_encoders.parent.parent)
    knobs = {"pretrained.max_length": 32, "training.threads": 1, "training.max_epochs": 1}
    return rows.with_encoder(params.override({**shipped.PLAIN, **knobs}), "bert")


def test_features_are_in_the_order_of_the_texts_and_computed_once(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BLOCK", 2)
    texts = rows.encode(TEXTS, LABELS, params)
    found, seconds = rows.features(texts, params, tmp_path)
    encoder = pretrained.load(rows.files_of(params).folder)
    with torch.inference_mode():
        each = torch.cat([pretrained.features(encoder, pad([texts[row]])) for row in range(len(texts))])
    np.testing.assert_allclose(found, each.numpy(), atol=1e-5)
    computed = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    assert len(computed) == 2
    (tmp_path / "2-of-2.npy").unlink()  # as if the computation was interrupted
    again, seconds_again = rows.features(texts, params, tmp_path)
    np.testing.assert_array_equal(again, found)
    assert (tmp_path / "1-of-2.npy").stat().st_mtime_ns == computed["1-of-2.npy"]
    assert seconds_again == seconds > 0


@pytest.mark.parametrize("mode", ["frozen", "fine_tune"])
def test_an_encoder_is_scored_on_the_rows_of_a_fold_and_served_as_it_was_scored(
    params: Params, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "PROJECT", tmp_path)
    monkeypatch.setattr(shipped, "code_fingerprint", lambda layout: "code")
    some = params.override({"data.subset": "rotten_tomatoes", "data.max_rows": 200, "model.encoder": "scratch"})
    folds = Folds(some, "bench", SPLITS)
    one = EncoderFits(folds, "bert", mode, Console(quiet=True))
    scores = scores_of(one, 0, 1, Console(quiet=True))
    n_test = int(folds.parts(0)["test"].sum())
    assert {name: scores[name].shape for name in one.models} == dict.fromkeys(one.models, (1, n_test))
    assert scores[f"{JOINT} seconds"] > scores[f"{ENCODER} seconds"] > 0
    texts = folds.rows.filter(folds.parts(0)["test"])["text"].to_pylist()
    predicted = one.package(0).predict_proba(texts).argmax(axis=1)
    np.testing.assert_array_equal(predicted == one.labels[folds.parts(0)["test"]], scores[JOINT][0])
    monkeypatch.setattr(EncoderFits, "fit", None)  # a second call finds the first one's file
    assert scores_of(one, 0, 1, Console(quiet=True)).keys() == scores.keys()


def test_the_targets_of_an_encoder_pool_the_rows_of_all_folds() -> None:
    def fold(right: int, wrong: int, seconds: float) -> accuracy.Scores:
        marks = np.array([[True] * right + [False] * wrong])
        return {JOINT: marks, f"{ENCODER} seconds": np.array([seconds])}

    scores = [fold(8, 2, 100.0), fold(80, 20, 180.0), fold(0, 0, 1000.0)]
    (_, is_accurate), (_, is_fast) = encoder_targets("rotten_tomatoes", "frozen", scores)
    assert is_accurate
    assert is_fast
    scores[0][JOINT][0, 0] = False
    assert [met for _, met in encoder_targets("rotten_tomatoes", "frozen", scores)] == [False, True]
    assert [met for _, met in encoder_targets("imdb", "frozen", scores)] == [False]
    assert encoder_targets("imdb", "fine_tune", scores) == []


def test_the_models_of_both_kinds_of_fits_begin_and_end_alike() -> None:
    assert EncoderFits.models[:2] == accuracy.ScratchFits.models[:2] == (BASELINE, PARTS[0])
    assert EncoderFits.models[-1] == accuracy.ScratchFits.models[-1] == JOINT


def test_a_stopwatch_adds_what_earlier_processes_kept(tmp_path: Path) -> None:
    first = Stopwatch(tmp_path / "seconds.json")
    first._started -= 100
    first.keep()
    first._started -= 1_000  # lost
    assert 100 <= Stopwatch(tmp_path / "seconds.json").seconds < 200


def test_windows_hold_each_sub_word_once_between_the_special_tokens() -> None:
    ids = [np.arange(length, dtype=np.int32) for length in (2, 100, 256, 257, 900)]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in ids])])
    texts = EncodedTexts(np.concatenate(ids), offsets, np.arange(5), ())
    pieces, starts = ideas.cut(texts)
    assert starts.tolist() == [0, 1, 2, 3, 5]
    assert pieces.labels.tolist() == [0, 1, 2, 3, 3, 4, 4, 4, 4]
    assert pieces.lengths.max() <= ideas.WINDOW
    for row, (start, end) in enumerate(zip(starts, [*starts[1:], len(pieces)], strict=True)):
        windows = [pieces[piece] for piece in range(start, end)]
        assert {(window[0], window[-1]) for window in windows} == {(0, len(ids[row]) - 1)}
        np.testing.assert_array_equal(np.concatenate([window[1:-1] for window in windows]), ids[row][1:-1])


def test_the_peer_trains_on_each_text_once_in_as_many_batches(params: Params) -> None:
    texts = rows.encode(TEXTS, LABELS, params)
    peer = speed.padded(speed.Sample("imdb", TEXTS, LABELS, texts), params, 2, steps=2)
    batches = list(peer.batches())
    assert [len(labels) for _, labels in batches] == [2, 2]
    read = sorted(tuple(ids[ids > 0].tolist()) for tokens, _ in batches for ids in tokens)
    assert read == sorted(tuple(texts[row].tolist()) for row in range(len(texts)))
    assert any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in peer.model.modules())


def test_both_ways_to_compute_features_read_all_texts(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "library", lambda params: None)
    texts = rows.encode(TEXTS, LABELS, params)
    contests = speed.of_features(speed.Sample("imdb", TEXTS, LABELS, texts), params)
    peer, ours = (torch.cat(contest()) for contest in contests.values())  # type: ignore[arg-type]
    assert len(peer) == len(ours) == len(TEXTS)
    torch.testing.assert_close(peer.sum(dim=0), ours.sum(dim=0), atol=1e-3, rtol=1e-3)


def test_logits_of_no_ngrams_are_zero() -> None:
    like = torch.ones(3, 2)
    assert not fits.ngram_logits(None, None, "test", like).any()  # type: ignore[arg-type]
