"""What the benchmarks compute, and that each variant does what its name says; e2e tests run them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from benchmarks import ablation, accuracy, data, folds, search, shipped, speed
from benchmarks.ideas import (
    IDEAS,
    Averaged,
    Decayed,
    FirstToken,
    MaxPooling,
    MeanPooling,
    PlainPooling,
    Pretrained,
    Smoothed,
    SwiGLU,
    WordDropout,
)
from headway.data.batching.datamodule import TextDataModule
from headway.data.text.splits import SPLITS
from headway.data.tokenization.encoded import EncodedTexts
from headway.evaluation.metrics import Interval
from headway.layout import Layout
from headway.model.classifier import AttentionClassifier
from headway.model.encoder import Block
from headway.model.joint import JointClassifier
from headway.model.lightning import ClassifierModule
from headway.model.training import fit
from headway.params import Params
from headway.search.results import TrialResult
from tests.conftest import Slice

SMALL = {
    "tune.space": {},
    "model.d_model": 8,
    "model.dim_feedforward": 16,
    "model.bigram_buckets": 64,
    "training.max_epochs": 1,
    "training.tokens_per_batch": 512,
    "training.threads": 1,
}
VOCABULARY_SIZE = 2000


def test_the_speed_benchmark_before_any_run_says_what_to_run_first(repository: Path, project: Layout) -> None:
    path = os.pathsep.join(filter(None, [str(repository), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed"],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "bench: there are no encoded rows to measure on; `make run` makes them, then try again\n"


def test_the_ratio_is_the_median_of_the_rounds_own() -> None:
    assert speed.ratio([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == 3.0


def test_the_exponent_is_that_of_the_growth() -> None:
    assert speed.exponent([(size, 0.1 * size**1.5) for size in (128, 200, 4096)]) == pytest.approx(1.5)
    assert data.growth((1_000, 2.0), (10_000, 200.0)) == "2.00"
    assert data.growth((1_000, 0.9), (10_000, 200.0)) == ""


def test_targets_are_met_or_not_met() -> None:
    taken = {"ingest": [(10, 0.1), (100, 2.0), (1_000, 20.0)], "prepare": [(10, 1.0), (100, 20.0), (1_000, 300.0)]}
    targets = data.targets(5_000, taken, {"ingest": 1_500, "prepare": 1_501}, {"csv": 1.0, "parquet": 3.0})
    assert targets == [
        ("IMDB reviews encoded: 5,000 per second, target 5,000", True),
        ("growth of ingest from 100 rows to 1,000: 1.00, target 1.1", True),
        ("growth of prepare from 10 rows to 1,000: 1.24, target 1.1", False),
        ("peak memory of ingest at 1,000 rows: 1,500 MB, target 1,500", True),
        ("peak memory of prepare at 1,000 rows: 1,501 MB, target 1,500", False),
        ("bytes read per byte of a .csv source: 1.00, target 1.02", True),
        ("bytes read per byte of a .parquet source: 3.00, target 2.02", False),
    ]


def test_the_table_of_accuracies_pools_the_folds_and_counts_wins_and_losses(params: Params) -> None:
    def fold(*right: str) -> dict[str, np.ndarray]:
        """A row of the baseline's answers, and one a seed of the joint model's; + is right."""
        answers = {name: np.array([[mark == "+" for mark in right[0]]] * (len(right) - 1)) for name in accuracy.MODELS}
        answers["joint"] = np.array([[mark == "+" for mark in row] for row in right[1:]])
        return {**answers, **{f"{name} seconds": np.array(1.0) for name in accuracy.MODELS}}

    folds = [fold("++--", "++++", "+++-"), fold("+-", "-+", "+-")]
    shown = accuracy.table("imdb", folds, params)
    joint = [str(next(itertools.islice(column.cells, 3, None))) for column in shown.columns]
    assert joint[:3] == ["joint", "0.7500", "0.8333 0.6667"]
    assert joint[3].startswith("+25.00 (")
    assert joint[4] == "3 : 1"
    assert accuracy.target("imdb", Interval(0.012, 0.001, 0.02))[1]
    assert not accuracy.target("imdb", Interval(0.012, -0.001, 0.02))[1]
    assert not accuracy.target("imdb", Interval(0.009, 0.001, 0.02))[1]
    assert accuracy.target("rotten_tomatoes", Interval(0.001, -0.01, 0.02))[1]


def test_variants_with_the_same_attention_are_trained_once() -> None:
    groups = ablation.by_attention(list(ablation.VARIANTS))
    linear = [name for name in ablation.VARIANTS if "linear part" in name]
    assert groups[0] == [ablation.USUAL, *linear]
    assert [len(group) for group in groups[1:]] == [1] * (len(ablation.VARIANTS) - 1 - len(linear))


def test_the_ablations_page_pairs_the_rows_of_all_seeds(params: Params) -> None:
    def fit(right: str, loss: float) -> ablation.Fit:
        """Of a linear part that has the first row right, an attention part that has none, and a whole; + is right."""
        whole = [mark == "+" for mark in right]
        answers = np.array([[True] + [False] * (len(right) - 1), [False] * len(right), whole])
        return ablation.Fit(np.zeros(len(right), bool), answers, np.full(len(right), loss), seconds=2.0)

    usual = [fit("++--", 0.5), fit("++", 0.5)]
    other = [fit("+++-", 0.5), fit("++", 0.2)]
    written = ablation.page({ablation.USUAL: usual, "idea": other}, params, "command").splitlines()
    first, second = (line.split(" | ") for line in written[-2:])
    assert first[:2] == ["| as in params.yaml", "0.6667"]  # four rows of six, not the mean of a half and of all
    assert second[1] == "0.8333"
    assert second[2].startswith("+16.67 (+0.00 to ")
    assert second[3].startswith("-100.0 (")  # a third of the rows at 300 thousandths less
    assert second[4] == "+0.0 -300.0"
    assert second[5:] == ["0.0000", "2 |"]
    assert any(line.startswith("The linear part alone: 0.3333. Attention adds +33.33 (") for line in written)
    assert any("both are +66.67 (" in line for line in written)


def test_every_row_is_tested_in_one_fold_and_the_splits_left_out_in_none(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "PROJECT", tmp_path)
    monkeypatch.setattr(shipped, "code_fingerprint", lambda layout: "code")
    some = params.override({"data.subset": "rotten_tomatoes", "data.max_rows": 300, **shipped.PLAIN})
    rows = folds.Folds(some, "bench", ("train", "validation"))
    made = [rows.fold(number) for number in range(folds.FOLDS)]
    prepared = shipped.prepared(some, "bench").prepared
    ids = {name: set(pq.read_table(prepared / f"{name}.parquet")["id"].to_pylist()) for name in SPLITS}
    tested = [row for fold in made for row in fold.part("test").ids]
    assert len(tested) == len(set(tested))
    assert set(tested) == ids["train"] | ids["validation"]
    for fold in made:
        parts = [set(fold.part(name).ids) for name in SPLITS]
        assert set.union(*parts) == set(tested)
        assert sum(map(len, parts)) == len(tested)
        assert len(fold.baseline_right) == len(fold.part("test"))


def test_predictions_are_in_the_order_of_the_rows(reviews: Slice, knobs: Params) -> None:
    fold = folds.Fold(reviews.layout.encoded, 2)
    attention = AttentionClassifier(knobs.model, VOCABULARY_SIZE, 2).eval()
    torch.nn.init.normal_(attention.output.weight)
    model = JointClassifier(None, attention)
    model.weights = torch.tensor([1.0, 2.0])
    said = fold.logits(model)
    test = fold.part("test")
    for row in range(0, len(test), 17):
        alone = attention(torch.from_numpy(test[row].astype(np.int64))[None]).detach().numpy()[0]
        np.testing.assert_allclose(said[:, row], [[0, 0], alone, 2 * alone], atol=1e-5)
    assert (fold.right(said) == (said.argmax(axis=2) == test.labels)).all()


@pytest.fixture
def knobs(reviews: Slice) -> Params:
    return reviews.params.override(SMALL)


def trainable(knobs: Params, reviews: Slice, kind: type[ClassifierModule]) -> tuple[ClassifierModule, TextDataModule]:
    splits = [EncodedTexts.open(reviews.layout.encoded / f"{name}.arrow") for name in ("train", "validation")]
    texts = TextDataModule(*splits, knobs.model.max_length, knobs.seed)
    schedule = speed.one_epoch(texts, knobs)
    texts.follow(schedule)
    return kind(knobs.model, knobs.training, VOCABULARY_SIZE, [1, 1], knobs.seed, schedule), texts


def test_the_plain_loop_takes_the_same_steps_as_lightning(knobs: Params, reviews: Slice) -> None:
    """Otherwise what the Trainer adds to them would be measured against something else."""
    ways = (speed.train_plainly, speed.train_by_lightning)
    trained = []
    for way in ways:
        module, data = trainable(knobs.override({"training.gradient_clip_val": 0.1}), reviews, speed.Timed)
        torch.manual_seed(1_000 * knobs.seed)  # of the dropouts, as the module sets it
        assert way(module, data) > 0
        trained.append(module.classifier.state_dict())
    start = trainable(knobs, reviews, speed.Timed)[0].classifier.state_dict()
    for name, weight in trained[0].items():
        torch.testing.assert_close(weight, trained[1][name], atol=1e-6, rtol=1e-5)
    assert any(not torch.equal(weight, start[name]) for name, weight in trained[0].items())


@pytest.mark.parametrize(
    ("idea", "blind"),
    [("", False), ("idea: no positions", True), ("idea: learned positions", False), ("idea: sinusoidal positions", False)],
)
def test_an_idea_about_positions_holds_also_after_its_model_was_built(knobs: Params, idea: str, blind: bool) -> None:
    """Without any idea the model knows positions."""
    torch.manual_seed(1)
    with IDEAS.get(idea, nullcontext)():
        model = AttentionClassifier(knobs.override({"model.bigram_buckets": 0}).model, VOCABULARY_SIZE, 2).eval()
    torch.nn.init.normal_(model.output.weight)
    if idea == "idea: learned positions":
        torch.nn.init.normal_(model.encoder.positions.weight)
    first, second = model(torch.tensor([[5, 6, 7, 8], [8, 7, 6, 5]]))
    assert torch.allclose(first, second, atol=1e-5) == blind


def test_words_are_dropped_whole_in_training_only(knobs: Params) -> None:
    model = WordDropout(knobs.override({"model.bigram_buckets": 0}).model, VOCABULARY_SIZE, 2).eval()
    tokens = torch.randint(1, VOCABULARY_SIZE, (200, 20), generator=torch.Generator().manual_seed(1))
    embedded = model.embed(tokens)
    assert torch.equal(embedded, model.embedding(tokens))
    torch.manual_seed(1)
    blanked = model.train().embed(tokens)
    kept = blanked.any(dim=-1)  # (200, 20)
    assert (~kept).float().mean().item() == pytest.approx(0.2, abs=0.03)
    torch.testing.assert_close(blanked[kept], embedded[kept] / 0.8)  # the expectation stays


def test_a_smoothed_loss_shares_a_tenth_of_a_label_by_all_classes(knobs: Params, reviews: Slice) -> None:
    module, _ = trainable(knobs, reviews, Smoothed)
    log_p = torch.randn(5, 2).log_softmax(dim=1)
    labels = torch.tensor([0, 1, 1, 0, 1])
    shares = torch.full((5, 2), 0.05).scatter_add_(1, labels[:, None], torch.full((5, 1), 0.9))
    torch.testing.assert_close(module.loss(log_p, labels), -(shares * log_p).sum(dim=1).mean())


def test_matrices_decay_by_the_learning_rate_and_nothing_else_does(knobs: Params, reviews: Slice) -> None:
    module, _ = trainable(knobs.override({"model.similarity": "cosine"}), reviews, Decayed)
    optimisers, _ = module.configure_optimizers()
    module.optimizers = lambda: optimisers
    torch.nn.init.ones_(module.classifier.output.weight)
    before = {name: weight.detach().clone() for name, weight in module.classifier.named_parameters()}
    module.on_train_batch_end()
    moved = {name for name, weight in module.classifier.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {
        "encoder.blocks.0.attention.output.weight",
        "encoder.blocks.0.attention.query_key_value.weight",
        "encoder.blocks.0.contract.weight",
        "encoder.blocks.0.expand.weight",
        "output.weight",
        "pooling.score.weight",
    }
    left = 1 - 0.05 * optimisers[0].param_groups[0]["lr"]
    torch.testing.assert_close(module.classifier.output.weight.detach(), left * before["output.weight"])


def test_the_gated_layer_has_as_many_weights_as_the_usual_one_and_its_equation(params: Params) -> None:
    torch.manual_seed(1)
    usual, gated = Block(params.model), SwiGLU(params.model).eval()
    sizes = [sum(weight.numel() for weight in block.parameters()) for block in (usual, gated)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)
    x = torch.randn(2, 3, params.model.d_model)
    gate, value = (gated.feedforward_norm(x) @ gated.expand.weight.T + gated.expand.bias).tensor_split(2, dim=-1)
    fed = (gate * gate.sigmoid() * value) @ gated.contract.weight.T + gated.contract.bias
    torch.testing.assert_close(gated._feedforward(x), x + fed)


@pytest.mark.parametrize(
    ("kind", "pooled"),
    [
        (MeanPooling, lambda text: text.mean(dim=0)),
        (MaxPooling, lambda text: text.max(dim=0).values),
        (FirstToken, lambda text: text[0]),
    ],
)
def test_other_poolings_ignore_padding(kind: type[PlainPooling], pooled: Callable[[torch.Tensor], torch.Tensor]) -> None:
    torch.manual_seed(1)
    x, lengths = torch.randn(4, 6, 8), [6, 1, 3, 5]
    found = kind(8, 2)(x, torch.arange(6) < torch.tensor(lengths)[:, None])
    torch.testing.assert_close(found, torch.stack([pooled(text[:n]) for text, n in zip(x, lengths, strict=True)]))


def test_averaged_weights_are_returned(knobs: Params, reviews: Slice, tmp_path: Path) -> None:
    class Noted(Averaged):
        """Notes every tenth step's weights of the output."""

        taken_in: ClassVar[list[torch.Tensor]] = []

        def on_train_batch_end(self, *batch: Any) -> None:
            if batch[-1] % 10 == 0:
                self.taken_in.append(self.classifier.output.weight.detach().clone())
            super().on_train_batch_end(*batch)

    module, texts = trainable(knobs, reviews, Noted)
    kept = fit(module, texts, checkpoints=tmp_path).classifier
    shares = [0.05 * 0.95**age for age in reversed(range(module.taken))]
    expected = sum(share * one for share, one in zip(shares, Noted.taken_in, strict=True)) / sum(shares)
    torch.testing.assert_close(kept.output.weight.detach(), expected)
    for name, weight in kept.named_parameters():
        assert torch.equal(weight, module.average[name])
    assert module.taken > 1
    assert not torch.equal(module.average["output.weight"], module.trained["output.weight"])
    assert module.average["output.weight"].any()  # which was zero at the start


def test_pre_training_changes_the_encoder_only(knobs: Params, reviews: Slice) -> None:
    module, texts = trainable(knobs, reviews, Pretrained)
    before = {name: weight.detach().clone() for name, weight in module.classifier.named_parameters()}
    module._trainer = SimpleNamespace(datamodule=texts)
    module.on_fit_start()
    moved = {
        name.split(".")[0] for name, weight in module.classifier.named_parameters() if not torch.equal(weight, before[name])
    }
    assert moved == {"embedding", "encoder"}
    assert all(weight.grad is None or not weight.grad.any() for weight in module.classifier.parameters())


def test_a_replayed_search_ends_trials_where_the_rule_would_have_and_counts_what_they_cost(params: Params) -> None:
    def trial(number: int, *accuracies: float) -> TrialResult:
        curve = [
            {"progress": share, "joint_validation_accuracy": value}
            for share, value in zip((0.25, 0.5, 1), accuracies, strict=True)
        ]
        return TrialResult(number, "complete", accuracies[-1], None, {}, curve, "", 400)

    trials = [trial(0, 0.5, 0.6, 0.7), trial(1, 0.4, 0.9, 0.9), trial(2, 0.6, 0.5, 0.8), trial(3, 0.6, 0.6, 0.6)]
    found = search.replay(trials, params.override({"tune.objective": "accuracy"}))
    assert [(one.state, one.score, one.tokens) for one in found] == [
        ("complete", 0.7, 400),
        ("pruned", 0.4, 100),
        ("pruned", 0.5, 200),
        ("complete", 0.6, 400),
    ]
    for one in trials:
        for entry in one.curve:
            entry["joint_validation_loss"] = -entry["joint_validation_accuracy"]
    losses = search.replay(trials, params.override({"tune.objective": "negative_log_likelihood"}))
    assert [one.state for one in losses] == [one.state for one in found]
    assert [one.score for one in losses if one.state == "pruned"] == [-0.4, -0.5]
