"""Training with the real Trainer on real sentences: it learns, is deterministic, and survives interruptions."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from headway.data.batching import TextBatches
from headway.data.batching.datamodule import TextDataModule, in_batches, subset
from headway.data.tokenization.encoded import EncodedTexts
from headway.errors import HeadwayError
from headway.model.lightning import MONITOR, ClassifierModule, balanced_weights
from headway.model.schedule import resolve
from headway.model.training import AtomicCheckpointIO, fit
from headway.params import Params

SMALL = {
    "tune.space": {},
    "model.d_model": 8,
    "model.dim_feedforward": 16,
    "model.window_size": 16,
    "model.bigram_buckets": 512,
    "training.max_epochs": 3,
    "training.patience": 5,
    "training.tokens_per_batch": 1024,
    "training.learning_rate": 0.02,
    "training.threads": 1,
}
VOCABULARY_SIZE = 2000


class Interrupted(Exception):
    """An interruption of a training from outside."""


@pytest.fixture(scope="module")
def knobs(reviews: Any) -> Params:
    return reviews.params.override(SMALL)


@pytest.fixture(scope="module")
def encoded(reviews: Any) -> Path:
    return reviews.layout.encoded


def new(
    knobs: Params, encoded: Path, kind: type[ClassifierModule] = ClassifierModule
) -> tuple[ClassifierModule, TextDataModule]:
    """A fresh module and the data to train it on."""
    splits = [EncodedTexts.open(encoded / f"{name}.arrow") for name in ("train", "validation")]
    return module_for(knobs, TextDataModule(*splits, knobs.model.max_length, knobs.seed), kind)


def module_for(
    knobs: Params, data: TextDataModule, kind: type[ClassifierModule] = ClassifierModule
) -> tuple[ClassifierModule, TextDataModule]:
    class_rows = np.bincount(data.train.texts.labels, minlength=2).tolist()
    schedule = resolve(knobs.training, data)
    return kind(knobs.model, knobs.training, VOCABULARY_SIZE, class_rows, knobs.seed, schedule), data


def trained(
    module_and_data: tuple[ClassifierModule, TextDataModule],
    checkpoints: Path | None = None,
    report: Callable[[dict[str, float]], None] | None = None,
) -> ClassifierModule:
    module, data = module_and_data
    return fit(module, data, report=report, checkpoints=checkpoints)


def assert_same(first: ClassifierModule, second: ClassifierModule) -> None:
    """Assert bit-identical weights and history."""
    assert first.history == second.history
    there = second.classifier.state_dict()
    for name, weight in first.classifier.state_dict().items():
        assert torch.equal(weight, there[name]), name


@pytest.fixture(scope="module")
def uninterrupted(knobs: Params, encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> ClassifierModule:
    """The result of an uninterrupted training of three epochs and four evaluations, the first three within an epoch."""
    module = trained(new(knobs, encoded), tmp_path_factory.mktemp("uninterrupted"))
    epochs = [entry["epoch"] for entry in module.history]
    assert [int(epoch) for epoch in epochs] == [0, 1, 2, 3]
    assert [epoch.is_integer() for epoch in epochs] == [False, False, False, True]
    return module


def steps_of(module: ClassifierModule) -> list[float]:
    """Steps done at each evaluation."""
    return [entry["step"] for entry in module.history]


# Learning.


def test_a_few_steps_move_every_parameter(knobs: Params, encoded: Path) -> None:
    module, data = new(knobs.override({"training.max_epochs": 1, "model.similarity": "cosine"}), encoded)
    before = {name: weight.clone() for name, weight in module.classifier.named_parameters()}
    trained((module, data))
    unmoved = [name for name, weight in module.classifier.named_parameters() if torch.equal(weight, before[name])]
    assert unmoved == []
    assert torch.equal(module.classifier.embedding.weight[0], before["embedding.weight"][0])  # padding learns nothing


@pytest.mark.parametrize("similarity", ["inner_product", "cosine"])
def test_one_batch_can_be_memorised(knobs: Params, encoded: Path, similarity: str) -> None:
    still = {f"model.{name}": 0.0 for name in ("bigram_dropout", "embedding_dropout", "dropout")}
    chosen = knobs.override(
        {**still, "model.similarity": similarity, "training.max_epochs": 40, "training.tokens_per_batch": 100_000, "seed": 3}
    )
    texts = EncodedTexts.open(encoded / "train.arrow")
    few = subset(texts, np.concatenate([np.flatnonzero(texts.labels == label)[:8] for label in (0, 1)]))
    module, data = module_for(chosen, TextDataModule(few, few, 512, 1))
    assert module.schedule.steps == 40
    ((tokens, labels),) = data.val_dataloader()
    assert module.loss(module.classifier(tokens), labels).item() == pytest.approx(np.log(2), abs=1e-5)  # it knows nothing
    trained((module, data))
    assert module.history[-1]["train_loss"] < 0.02
    assert module.history[-1]["validation_accuracy"] == 1


STILL = {
    **{f"model.{name}": 0.0 for name in ("bigram_dropout", "embedding_dropout", "dropout")},
    "training.max_epochs": 1,
}


def test_the_loss_is_the_cross_entropy_of_the_weights_at_the_start(knobs: Params, encoded: Path) -> None:
    chosen = knobs.override({**STILL, "training.tokens_per_batch": 100_000})
    few = subset(EncodedTexts.open(encoded / "train.arrow"), range(16))
    module, data = module_for(chosen, TextDataModule(few, few, 512, 1))
    torch.nn.init.normal_(module.classifier.output.weight)
    losses = []
    for tokens, labels in in_batches(few):
        with torch.no_grad():
            log_p = module.classifier.eval()(tokens).log_softmax(dim=1)
        losses += (-log_p[torch.arange(len(labels)), labels]).tolist()
    module.classifier.train()
    trained((module, data))
    assert module.history[0]["train_loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_dense_gradient_is_clipped_by_its_norm(knobs: Params, encoded: Path) -> None:
    norms: dict[float, list[float]] = {1e-3: [], 1e3: []}

    class Noted(ClassifierModule):
        def on_train_batch_end(self, *_: Any) -> None:
            grads = [weight.grad for weight in self.classifier.parameters() if weight.grad is not None]
            dense = torch.cat([grad.flatten() for grad in grads if not grad.is_sparse])
            norms[self.params.gradient_clip_val].append(dense.norm().item())

    for limit in norms:
        module, data = new(knobs.override({**STILL, "training.gradient_clip_val": limit}), encoded, Noted)
        torch.nn.init.normal_(module.classifier.output.weight)
        trained((module, data))
    assert norms[1e-3] == pytest.approx([1e-3] * len(norms[1e-3]), rel=0.01)
    assert min(norms[1e3]) > 1e-2


def test_the_history_has_losses_and_validation_metrics(knobs: Params, encoded: Path) -> None:
    module, data = new(knobs.override({"training.max_epochs": 1}), encoded)
    trained((module, data))
    module.eval()
    with torch.inference_mode():
        pairs = [(module.classifier(tokens), labels) for tokens, labels in data.val_dataloader()]
    logits, labels = torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])
    assert len(labels) == len(data.validation)
    entry = module.history[-1]
    assert (entry["step"], entry["epoch"], entry["progress"]) == (module.schedule.steps, 1, 1)
    assert entry["validation_accuracy"] == pytest.approx((logits.argmax(dim=1) == labels).float().mean().item())
    assert entry["validation_loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)
    assert entry[MONITOR] == pytest.approx(loss_at_the_best_temperature(logits, labels), rel=1e-4)
    assert entry[MONITOR] < entry["validation_loss"]
    metrics = {"train_loss", "validation_loss", MONITOR, "validation_accuracy", "validation_macro_f1"}
    assert set(entry) == {"step", "epoch", "progress", *metrics}


def loss_at_the_best_temperature(logits: Tensor, labels: Tensor) -> float:
    """By trying temperatures, with the prior of the joint model's weights."""
    losses = [
        torch.nn.functional.cross_entropy(weight * logits.double(), labels).item() + (weight - 1) ** 2 / len(labels)
        for weight in np.arange(0, 20, 0.01)
    ]
    return min(losses)


def test_an_evaluation_is_reported_when_its_logits_are_there(knobs: Params, encoded: Path) -> None:
    module, data = new(knobs, encoded)
    labels = torch.cat([labels for _, labels in data.val_dataloader()])

    def check(entry: dict[str, float]) -> None:
        right = module.validation_logits.argmax(dim=1) == labels
        assert entry["validation_accuracy"] == pytest.approx(right.float().mean().item())
        loss = torch.nn.functional.cross_entropy(module.validation_logits, labels)
        assert entry[MONITOR] == pytest.approx(loss_at_the_best_temperature(module.validation_logits, labels), abs=1e-4)
        assert not module.validation_logits.is_inference(), "a fit of weights needs gradients"
        reported.append(float(loss))

    reported: list[float] = []
    fit(module, data, report=check)
    assert len(reported) == len(set(reported)) == len(module.history) > 1


def test_a_loss_that_is_not_finite_ends_the_training_with_advice(knobs: Params, encoded: Path) -> None:
    with pytest.raises(
        HeadwayError, match=r"^training diverged: .* at step \d+; lower training\.learning_rate \(now 1e\+30\)"
    ):
        trained(new(knobs.override({"training.learning_rate": 1e30}), encoded))


def test_a_logit_that_is_not_finite_in_validation_is_reported_at_the_last_step(
    knobs: Params, encoded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, data = new(knobs, encoded)
    forward = module.classifier.forward
    monkeypatch.setattr(
        module.classifier, "forward", lambda x: forward(x) if module.classifier.training else torch.inf * forward(x)
    )
    with pytest.raises(HeadwayError, match=rf"validation text is not finite at step {module.schedule.evaluation_steps:,}; "):
        trained((module, data))


# Repeating.


def test_two_trainings_with_one_seed_are_bit_identical(
    knobs: Params, encoded: Path, uninterrupted: ClassifierModule, tmp_path: Path
) -> None:
    torch.manual_seed(99)  # whatever was random before
    assert_same(trained(new(knobs, encoded), tmp_path), uninterrupted)


def test_another_seed_trains_another_model(
    knobs: Params, encoded: Path, uninterrupted: ClassifierModule, tmp_path: Path
) -> None:
    other = trained(new(knobs.override({"seed": 2}), encoded), tmp_path)
    assert other.history != uninterrupted.history


# Being interrupted.


def interrupt_at(step: float) -> Callable[[dict[str, float]], None]:
    """A report that raises at the evaluation after this step."""

    def interrupt(entry: dict[str, float]) -> None:
        if entry["step"] == step:
            raise Interrupted

    return interrupt


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_training_interrupted_in_its_report_resumes_bit_identically(
    knobs: Params, encoded: Path, uninterrupted: ClassifierModule, tmp_path: Path, number: int
) -> None:
    expected = steps_of(uninterrupted)
    with pytest.raises(Interrupted):
        trained(new(knobs, encoded), tmp_path, interrupt_at(expected[number]))
    steps = []
    resumed = trained(new(knobs, encoded), tmp_path, lambda entry: steps.append(entry["step"]))
    # The evaluation's checkpoint is written after its report, so that interval is done again, and none before it.
    assert steps == expected[number:]
    assert_same(resumed, uninterrupted)


class Killed(ClassifierModule):
    """Kills its own process before a step."""

    kill_at: int

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        if self.current_epoch * self.schedule.evaluation_steps + len(self._losses) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch)


def train_until_killed(knobs: Params, encoded: Path, checkpoints: Path, kill_at: int) -> None:
    module, data = new(knobs, encoded, Killed)
    module.kill_at = kill_at  # type: ignore[attr-defined]
    trained((module, data), checkpoints)


@pytest.mark.parametrize("place", ["between two evaluations of an epoch", "in the epoch after the last evaluation's"])
def test_a_killed_training_resumes_bit_identically(
    knobs: Params, encoded: Path, uninterrupted: ClassifierModule, tmp_path: Path, place: str
) -> None:
    expected, schedule = steps_of(uninterrupted), uninterrupted.schedule
    kill_at = int(expected[0]) + 1
    if place == "in the epoch after the last evaluation's":
        kill_at = int(schedule.steps / schedule.epochs) + 3
    assert expected[0] < kill_at < expected[1]
    assert (schedule.epochs_at(kill_at) > 1) == (place == "in the epoch after the last evaluation's")
    arguments = (knobs, encoded, tmp_path, kill_at)
    process = multiprocessing.get_context("spawn").Process(target=train_until_killed, args=arguments)
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    steps = []
    resumed = trained(new(knobs, encoded), tmp_path, lambda entry: steps.append(entry["step"]))
    assert steps == expected[1:]
    assert_same(resumed, uninterrupted)


def test_a_checkpoint_that_cannot_be_written_to_its_end_leaves_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "best.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    def partly(checkpoint: dict[str, Any], path: str) -> None:
        Path(path).write_bytes(b"PK")
        raise Interrupted

    monkeypatch.setattr("lightning_fabric.plugins.io.torch_io._atomic_save", partly)
    with pytest.raises(Interrupted):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}


def test_a_training_writes_its_checkpoints_so(knobs: Params, encoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainers: list[Any] = []
    monkeypatch.setattr("pytorch_lightning.Trainer.fit", lambda trainer, *_, **__: trainers.append(trainer))
    trained(new(knobs, encoded), None)
    assert isinstance(trainers[0].strategy.checkpoint_io, AtomicCheckpointIO)


@pytest.mark.parametrize("damage", ["", "not a checkpoint", "truncated"])
@pytest.mark.parametrize("newest", ["best", "last"])
def test_a_damaged_checkpoint_is_skipped(
    knobs: Params, encoded: Path, tmp_path: Path, damage: str, newest: str, capsys: Any
) -> None:
    """The best evaluation is saved as best, any other as last: the older of the two remains."""
    fresh = new if newest == "best" else spoiled
    expected = trained(fresh(knobs, encoded), tmp_path / "uninterrupted")
    steps = steps_of(expected)
    with pytest.raises(Interrupted):
        trained(fresh(knobs, encoded), tmp_path / "interrupted", interrupt_at(steps[2]))
    damaged = tmp_path / "interrupted" / f"{newest}.ckpt"
    damaged.write_bytes(damaged.read_bytes()[:5000] if damage == "truncated" else damage.encode())
    repeated = []
    resumed = trained(fresh(knobs, encoded), tmp_path / "interrupted", lambda entry: repeated.append(entry["step"]))
    assert f"{newest}.ckpt is damaged" in capsys.readouterr().out
    assert repeated == (steps if newest == "best" else steps[1:])  # all is done again if there was no other
    assert_same(resumed, expected)


def test_a_training_without_a_readable_checkpoint_starts_over(
    knobs: Params, encoded: Path, uninterrupted: ClassifierModule, tmp_path: Path
) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
    assert_same(trained(new(knobs, encoded), tmp_path), uninterrupted)


def test_a_training_killed_after_its_last_evaluation_gives_the_same_model_without_another(
    knobs: Params, encoded: Path, uninterrupted: ClassifierModule, tmp_path: Path
) -> None:
    trained(
        new(knobs, encoded), tmp_path
    )  # its checkpoints are all there, as they are when the kill comes before the packing
    steps = []
    resumed = trained(new(knobs, encoded), tmp_path, lambda entry: steps.append(entry["step"]))
    assert steps == []
    assert_same(resumed, uninterrupted)


# Stopping early, and the best evaluation.


def spoiled(knobs: Params, encoded: Path) -> tuple[ClassifierModule, TextDataModule]:
    """Data with inverted validation labels: the model scores worse as it learns, so an early evaluation is the best."""
    module, data = new(knobs, encoded)
    texts = data.validation.texts
    turned = EncodedTexts(texts.tokens, texts.offsets, 1 - texts.labels, texts.ids)
    data.validation = TextBatches(turned, knobs.model.max_length)
    return module, data


def weights_by_evaluation(module: ClassifierModule, kept: list[dict[str, Tensor]]) -> Callable[[dict[str, float]], None]:
    return lambda entry: kept.append({name: value.clone() for name, value in module.classifier.state_dict().items()})


def test_the_weights_of_the_best_evaluation_are_returned(knobs: Params, encoded: Path, tmp_path: Path) -> None:
    module, data = spoiled(knobs.override({"training.max_epochs": 5}), encoded)
    kept: list[dict[str, Tensor]] = []
    trained((module, data), tmp_path, weights_by_evaluation(module, kept))
    losses = [entry[MONITOR] for entry in module.history]
    best = losses.index(min(losses))
    assert best < len(losses) - 1
    for name, weight in module.classifier.state_dict().items():
        assert torch.equal(weight, kept[best][name]), name
    assert not torch.equal(kept[best]["output.weight"], kept[-1]["output.weight"])


@pytest.mark.parametrize("folder", ["interrupted", "moved since"])
def test_an_interrupted_training_resumes_from_its_last_evaluation_not_its_best(
    knobs: Params, encoded: Path, tmp_path: Path, folder: str
) -> None:
    chosen = knobs.override({"training.max_epochs": 5})
    expected = trained(spoiled(chosen, encoded), tmp_path / "uninterrupted")
    losses = [entry[MONITOR] for entry in expected.history]
    assert losses.index(min(losses)) < len(losses) - 2
    last = expected.schedule.steps
    with pytest.raises(Interrupted):
        trained(spoiled(chosen, encoded), tmp_path / "interrupted", interrupt_at(last))
    (tmp_path / "interrupted").rename(tmp_path / folder)
    steps = []
    resumed = trained(spoiled(chosen, encoded), tmp_path / folder, lambda entry: steps.append(entry["step"]))
    assert steps == [last]
    assert_same(resumed, expected)


def test_without_checkpoints_the_weights_of_the_last_evaluation_are_returned(knobs: Params, encoded: Path) -> None:
    module, data = spoiled(knobs, encoded)
    kept: list[dict[str, Tensor]] = []
    trained((module, data), None, weights_by_evaluation(module, kept))
    assert torch.equal(module.classifier.output.weight, kept[-1]["output.weight"])


@pytest.mark.parametrize("patience", [1, 2])
def test_training_stops_after_patience_evaluations_without_gain(knobs: Params, encoded: Path, patience: int) -> None:
    # So small a rate moves nothing: the first evaluation is the best.
    chosen = {"training.learning_rate": 1e-60, "training.max_epochs": 6, "training.patience": patience}
    module = trained(new(knobs.override(chosen), encoded))
    assert len(module.history) == patience + 1 < module.schedule.evaluations


def test_a_training_killed_after_early_stopping_does_not_continue(knobs: Params, encoded: Path, tmp_path: Path) -> None:
    chosen = knobs.override({"training.learning_rate": 1e-60, "training.max_epochs": 6, "training.patience": 1})
    stopped = trained(new(chosen, encoded), tmp_path)
    assert len(stopped.history) == 2
    assert_same(trained(new(chosen, encoded), tmp_path), stopped)


# Epochs and steps.


class Recording(ClassifierModule):
    """Records the batch and the learning rates of each training step."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rows: list[list[int]] = []
        self.rates: list[list[float]] = []

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.rows.append(batch[0][:, 0].tolist())
        self.rates.append([group["lr"] for optimiser in self.optimizers() for group in optimiser.param_groups])
        return super().training_step(batch)


def test_every_text_is_used_exactly_once_per_epoch(knobs: Params) -> None:
    # A text of its own first token; lengths so uneven that epochs differ in their number of batches.
    lengths = np.random.default_rng(0).integers(1, 20, size=450)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.ones(offsets[-1], dtype=np.int32)
    tokens[offsets[:-1]] = np.arange(2, 452)
    texts = EncodedTexts(tokens, offsets, np.arange(450, dtype=np.int32) % 2, [str(index) for index in range(450)])
    data = TextDataModule(texts, subset(texts, [0, 1]), 512, 1)
    module, _ = module_for(knobs.override({"training.tokens_per_batch": 50, "training.patience": 99}), data, Recording)
    trained((module, data))
    ends = [data.steps(50, epochs) for epochs in range(4)]
    assert len({end - start for start, end in pairwise(ends)}) > 1
    assert len(module.rows) == module.schedule.steps == ends[-1]
    order = [[row for rows in module.rows[start:end] for row in rows] for start, end in pairwise(ends)]
    assert all(sorted(rows) == list(range(2, 452)) for rows in order)
    assert len({tuple(rows) for rows in order}) == 3


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(knobs: Params, encoded: Path) -> None:
    module, data = new(knobs.override({"training.warmup_ratio": 0.25}), encoded, Recording)
    trained((module, data))
    rates = [rate[0] for rate in module.rates]
    assert len(rates) == module.schedule.steps
    assert all(len(set(rate)) == 1 and len(rate) == 2 for rate in module.rates)  # the bigram table's too
    peak = rates.index(max(rates))
    assert peak == pytest.approx(0.25 * module.schedule.steps, abs=1)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert len(set(rates)) >= len(rates) - 1
    assert 0 < rates[0] < 0.3 * 0.02
    assert max(rates) == pytest.approx(0.02, rel=0.1)
    assert 0 < rates[-1] < 0.1 * 0.02
    assert module.learning_rate_at(module.schedule.steps) == 0
    assert module.learning_rate_at(module.schedule.steps + 5) == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
def test_missing_devices_are_reported_in_one_line(knobs: Params, encoded: Path) -> None:
    module, data = new(knobs.override({"training.accelerator": "gpu"}), encoded)
    with pytest.raises(
        HeadwayError, match=r"^this machine lacks devices for .*: gpu and .*: 1 \(.*\); set accelerator: auto, or"
    ):
        fit(module, data)


def test_only_bigram_embeddings_have_sparse_gradients_and_not_on_a_gpu(knobs: Params, encoded: Path) -> None:
    module, data = new(knobs, encoded)
    names = {weight: name for name, weight in module.classifier.named_parameters()}
    dense, table = module.configure_optimizers()[0]
    assert dense.defaults["fused"]
    assert [names[weight] for weight in table.param_groups[0]["params"]] == ["bigram_embedding.weight"]
    assert {*dense.param_groups[0]["params"], *table.param_groups[0]["params"]} == set(names)
    gpu = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda")))
    for trainer, optimisers in ((SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu"))), 2), (gpu, 1)):
        module._trainer = trainer
        module.setup("fit")
        assert len(module.configure_optimizers()[0]) == optimisers
    before = module.classifier.bigram_embedding.weight.detach().clone()
    module._trainer = None
    trained((module, data))
    assert not torch.equal(module.classifier.bigram_embedding.weight, before)


def test_ctrl_c_in_a_training_raises_keyboard_interrupt(knobs: Params, encoded: Path) -> None:
    def end(_: dict[str, float]) -> None:
        raise KeyboardInterrupt

    module, data = new(knobs, encoded)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(module, data, report=end)
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning leaves it ignored


# Memory and precision


def out_of_gpu_memory(*_: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB.\nMore about it")


def out_of_memory(*_: Any) -> Any:
    return torch.empty(10**15)


@pytest.mark.parametrize(
    ("embed", "reason"), [(out_of_memory, "you tried to allocate 4000000000000000 bytes"), (out_of_gpu_memory, "2 TiB")]
)
def test_running_out_of_memory_is_one_line_with_advice(
    knobs: Params, encoded: Path, monkeypatch: pytest.MonkeyPatch, embed: Any, reason: str
) -> None:
    module, data = new(knobs, encoded)
    monkeypatch.setattr(module.classifier, "embed", embed)
    with pytest.raises(HeadwayError) as caught:
        trained((module, data))
    (line,) = str(caught.value).splitlines()
    assert re.search(rf"^training ran out of memory \(.*{reason}.*\); lower training.tokens_per_batch \(now ", line)


def test_running_out_of_memory_in_validation_is_reported_too(
    knobs: Params, encoded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, data = new(knobs, encoded)
    embed = module.classifier.embed
    monkeypatch.setattr(
        module.classifier, "embed", lambda x: embed(x) if module.classifier.training else out_of_gpu_memory()
    )
    with pytest.raises(HeadwayError, match=r"^training ran out of memory \(CUDA"):
        trained((module, data))


def test_other_errors_in_a_step_are_not_changed(knobs: Params, encoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, data = new(knobs, encoded)
    monkeypatch.setattr(module.classifier, "embed", lambda _: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        trained((module, data))


@pytest.mark.parametrize("similarity", ["inner_product", "cosine"])
def test_bfloat16_multiplies_in_bfloat16_and_learns_in_float32(knobs: Params, encoded: Path, similarity: str) -> None:
    seen, losses = set(), {}
    for precision in ("float32", "bfloat16"):
        chosen = {"training.precision": precision, "model.similarity": similarity}
        module, data = new(knobs.override(chosen), encoded)
        module.classifier.output.register_forward_hook(lambda _, __, logits: seen.add((precision, logits.dtype)))  # noqa: B023
        trained((module, data))
        assert {weight.dtype for weight in module.parameters()} == {torch.float32}
        losses[precision] = [entry["train_loss"] for entry in module.history]
    assert losses["bfloat16"][-1] < losses["bfloat16"][0] - 0.03
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.01)
    assert losses["bfloat16"] != losses["float32"]
    assert seen == {("float32", torch.float32), ("bfloat16", torch.bfloat16)}


# Class weights


def test_balanced_weights_equalise_classes_and_average_one_per_row():
    rows = [90, 9, 1]
    weights = balanced_weights(rows)
    assert (weights * torch.tensor(rows)).tolist() == pytest.approx([100 / 3] * 3)
    assert balanced_weights([5, 5]).tolist() == [1, 1]
    assert balanced_weights([4, 0]).tolist() == [0.5, 1]


def test_a_rare_class_is_found_more_often_when_classes_are_balanced(knobs: Params, encoded: Path) -> None:
    splits = [EncodedTexts.open(encoded / f"{name}.arrow") for name in ("train", "validation")]
    rare = np.flatnonzero(splits[0].labels == 1)[:25]
    few = subset(splits[0], np.concatenate([np.flatnonzero(splits[0].labels == 0), rare]))
    found = {}
    for weights in ("none", "balanced"):
        chosen = knobs.override({"training.class_weights": weights})
        data = TextDataModule(few, splits[1], chosen.model.max_length, chosen.seed)
        module = trained(module_for(chosen, data)).eval()
        with torch.no_grad():
            predicted = [module.classifier(tokens).argmax(dim=1) for tokens, _ in data.val_dataloader()]
        found[weights] = int(torch.cat(predicted).sum())
    assert found["balanced"] > found["none"] + 5


# Two processes.


class InStep(ClassifierModule):
    """Fails where its processes, which see other texts and drop other words, end with other weights."""

    def on_train_end(self) -> None:
        for name, weight in self.classifier.named_parameters():
            first, second = self.all_gather(weight.detach())
            assert torch.equal(first, second), name


def together(
    knobs: Params, encoded: Path, checkpoints: Path, report: Any = None, embed: Any = None
) -> tuple[ClassifierModule, TextDataModule]:
    """Trained by two CPU processes, each on every second batch."""
    chosen = knobs.override({"training.max_epochs": 2, "training.accelerator": "cpu", "training.devices": 2})
    module, data = new(chosen, encoded, InStep)
    module.classifier.embed = embed or module.classifier.embed  # type: ignore[method-assign]
    return fit(module, data, report=report, checkpoints=checkpoints, devices=2), data


def test_two_processes_train_one_model(knobs: Params, encoded: Path, tmp_path: Path) -> None:
    reported: list[dict[str, float]] = []
    module, data = together(knobs, encoded, tmp_path / "first", reported.append)
    assert len(module.history) == module.schedule.evaluations
    assert reported == module.history
    # The weights that came back are those of the best evaluation, for they give its metrics.
    module.eval()
    with torch.inference_mode():
        pairs = [(module.classifier(tokens).argmax(dim=1) == labels) for tokens, labels in data.val_dataloader()]
    best = min(module.history, key=lambda entry: entry[MONITOR])
    assert torch.cat(pairs).float().mean().item() == pytest.approx(best["validation_accuracy"])
    again, _ = together(knobs, encoded, tmp_path / "second")
    assert_same(module, again)
    saved = [torch.load(path, weights_only=True) for path in (tmp_path / "first").glob("*.ckpt")]
    steps = max(one["lr_schedulers"][0]["last_epoch"] for one in saved)
    assert steps == module.schedule.steps == data.steps(1024, 2, world_size=2) < data.steps(1024, 2)


def test_an_error_in_one_of_two_processes_is_one_line(knobs: Params, encoded: Path, tmp_path: Path) -> None:
    with pytest.raises(HeadwayError, match=r"^training diverged: .* at step \d+; lower training\.learning_rate"):
        together(knobs.override({"training.learning_rate": 1e30}), encoded, tmp_path)


def test_running_out_of_memory_in_one_of_two_processes_is_one_line(knobs: Params, encoded: Path, tmp_path: Path) -> None:
    with pytest.raises(HeadwayError, match=r"^training ran out of memory \(CUDA.*; lower training\.tokens_per_batch"):
        together(knobs, encoded, tmp_path, embed=out_of_gpu_memory)
