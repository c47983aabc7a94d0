"""The model and the texts of the benchmarks of serving: reviews that the model was not trained on, and their sentences.

The n-grams are fitted on a fold of the shipped IMDB reviews. The attention part has the sizes of params.yaml and random weights,
because speed and memory do not depend on their values. Two models differ in these weights, so a swap can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch

from benchmarks.folds import Fold, Folds
from benchmarks.made_rows import sentences_of
from benchmarks.shipped import params_for
from headway.data.text.splits import SPLITS
from headway.data.tokenization import tokenizer
from headway.files import fresh_folder
from headway.model.classifier import AttentionClassifier
from headway.model.joint import JointClassifier
from headway.params import Params
from headway.serving import package


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        models: folders of two packages with the same sizes.
        reviews: long texts.
        sentences: short texts.
    """

    models: tuple[Path, Path]
    reviews: list[str]
    sentences: list[str]


def subject() -> Subject:
    """Prepare the models and the texts, or take those of an earlier run."""
    params = params_for("imdb", 0)
    folds = Folds(params, "bench-accuracy", SPLITS)
    fold = folds.fold(0)
    reviews: list[str] = folds.rows.filter(pa.array(folds.parts(0)["test"]))["text"].to_pylist()
    first, second = (_package(fold, folds.classes, params, seed) for seed in (0, 1))
    return Subject((first, second), reviews, sentences_of(reviews))


def _package(fold: Fold, classes: list[str], params: Params, seed: int) -> Path:
    folder = fold.folder / f"served-{seed}"
    if not folder.exists():
        words = fold.folder / "tokenizer.json"
        size = tokenizer.load(words).get_vocab_size()
        torch.manual_seed(seed)
        attention = AttentionClassifier(params.model, size, len(classes))
        torch.nn.init.normal_(attention.output.weight)
        with fresh_folder(folder) as made:
            package.save(
                made, JointClassifier(fold.ngrams(params)[0], attention), words, params.tokenizer.max_length, size, classes
            )
    return folder
