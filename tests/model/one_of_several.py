"""A process that trains together with others, for tests: prints each evaluation, and the hash of the weights.

python -m tests.model.one_of_several ENCODED CHECKPOINTS STRATEGY ADDRESS DEVICES
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from headway import params
from headway.data.batching.datamodule import TextDataModule
from headway.data.tokenization.encoded import EncodedTexts
from headway.errors import HeadwayError
from headway.model.lightning import ClassifierModule
from headway.model.schedule import resolve
from headway.stages.train.fitting import train_where_asked
from tests.model.test_training import SMALL, VOCABULARY_SIZE

ROOT = Path(__file__).resolve().parents[2]


def main(encoded: str, checkpoints: str, strategy: str, address: str, devices: str) -> None:
    chosen = {"training.strategy": strategy, "training.address": address, "training.devices": int(devices)}
    fixed = {"training.accelerator": "cpu", "training.max_epochs": 6, "training.patience": 20}
    knobs = params.load(ROOT / "params.yaml").override({**SMALL, **fixed, **chosen})
    splits = [EncodedTexts.open(Path(encoded) / f"{name}.arrow") for name in ("train", "validation")]
    data = TextDataModule(*splits, knobs.model.max_length, knobs.seed)
    schedule = resolve(knobs.training, data)
    module = ClassifierModule(knobs.model, knobs.training, VOCABULARY_SIZE, [1, 1], knobs.seed, schedule)

    def report(entry: dict[str, float]) -> None:
        print(f"evaluation {entry['step']:.0f} {entry['validation_loss']}", flush=True)  # noqa: T201

    train_where_asked(module, data, knobs.training, Path(checkpoints), report)
    weights = b"".join(value.numpy().tobytes() for value in module.state_dict().values())
    print(f"weights {hashlib.sha256(weights).hexdigest()}")  # noqa: T201


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except HeadwayError as error:
        print(f"headway: {type(error).__name__}: {error}")  # noqa: T201
        sys.exit(2)
