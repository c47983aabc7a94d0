"""The rows of the trials of a search, with their n-grams and with what a pretrained encoder makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.files import read_json
from headway.layout import Layout
from headway.params import Params

if TYPE_CHECKING:
    import numpy as np

    from headway.data.tokenization.encoded import EncodedTexts
    from headway.search.objective import NgramPart, Shared, Subwords, TrialData


def load_shared(params: Params, layout: Layout) -> Shared:
    """What all trials have in common, with the n-grams of their rows, which are fitted here."""
    return with_ngrams(shared_rows(params, layout))


def with_ngrams(shared: Shared) -> Shared:
    """The same with n-grams, fitted on its rows."""
    ngrams = fitted_ngrams(shared.data, shared.params, len(shared.class_rows))
    return replace(shared, data=replace(shared.data, ngrams=ngrams))


def with_pretrained(shared: Shared, layout: Layout, threads: int) -> Shared:
    """The same with what trials need of a pretrained encoder: the features of the rows, computed unless kept, or its files."""
    params = shared.params
    if "pretrained" in params.encoders and params.pretrained.learns:
        from headway.search.encoder_copy import EncoderCopy
        from headway.stages.tokenize.pretrained import encoder_of

        files = encoder_of(params, layout)
        return replace(shared, encoder=EncoderCopy.of(files) if params.tune.executor == "ray" else files.folder)
    return replace(shared, data=replace(shared.data, **pretrained_rows(params, layout, threads)))


def pretrained_rows(params: Params, layout: Layout, threads: int) -> dict[str, Any]:
    """The fields of :class:`headway.search.objective.TrialData` for a pretrained encoder; none if no trial has one.

    Args:
        params: of a trial, which may have fewer threads.
        threads: that compute the features, the same number as in the stage train, which so finds them.
    """
    if "pretrained" not in params.encoders:
        return {}
    import numpy as np

    from headway.data.tokenization.encoded import EncodedTexts
    from headway.search.objective import FrozenFeatures
    from headway.stages.tokenize.pretrained import PretrainedRows

    if params.pretrained.learns:
        return {"subwords": subword_rows(params, layout)}
    chosen = rows_of_trials(EncodedTexts.open(layout.encoded / "train.arrow"), params)
    rows = PretrainedRows.of(params.override({"training.threads": threads}), layout)
    return {
        "features": FrozenFeatures(np.array(rows.train[chosen]), np.array(rows.validation), encoder_cost(params, layout))
    }


def subword_rows(params: Params, layout: Layout) -> Subwords:
    """The rows of a trial as the sub-words of a pretrained encoder."""
    from headway.data.tokenization.encoded import EncodedTexts
    from headway.search.objective import Subwords
    from headway.stages.tokenize.pretrained import encoder_of, subwords_of

    folder = subwords_of(params, layout, encoder_of(params, layout))
    train, validation = (EncodedTexts.open(folder / f"{split}.arrow") for split in ("train", "validation"))
    return Subwords(*some_rows(train, validation, params))


def encoder_cost(params: Params, layout: Layout) -> float:
    """What a pretrained encoder adds to the second objective, in its unit; 0 without one."""
    from headway.data.batching import TextBatches
    from headway.data.tokenization.encoded import EncodedTexts
    from headway.model import pretrained
    from headway.model.training import pin
    from headway.search.objective import SECOND_OBJECTIVES
    from headway.stages.tokenize.pretrained import encoder_of, subwords_of

    if (second := SECOND_OBJECTIVES.get(params.tune.second_objective)) is None:
        return 0.0
    files, knobs = encoder_of(params, layout), params.pretrained
    n_classes = len(read_json(layout.prepared / "labels.json", made_by="prepare"))
    pin(params.training.threads)
    part = pretrained.PretrainedClassifier(
        pretrained.load(files.folder), knobs.resolved_pooling, knobs.max_length, n_classes
    )
    return second(part, TextBatches(EncodedTexts.open(subwords_of(params, layout, files) / "validation.arrow")))


def shared_rows(params: Params, layout: Layout) -> Shared:
    """What all trials have in common, without n-grams."""
    import numpy as np

    from headway.data.tokenization.encoded import EncodedTexts
    from headway.search.objective import Shared

    classes = read_json(layout.prepared / "labels.json", made_by="prepare")
    labels = EncodedTexts.open(layout.encoded / "train.arrow").labels
    data = load_rows(layout.encoded, params)
    if "pretrained" in params.encoders and params.pretrained.learns:
        data = replace(data, subwords=subword_rows(params, layout))
    return Shared(params, data, np.bincount(labels, minlength=len(classes)).tolist())


def load_rows(folder: Path, knobs: Params) -> TrialData:
    """A fixed share of the training rows, the same for every tokenizer, and all validation rows; without n-grams.

    Args:
        folder: with the rows as encoded with these knobs.
    """
    from headway.data.tokenization import tokenizer, vectors
    from headway.data.tokenization.encoded import EncodedTexts
    from headway.search.objective import TrialData

    train, validation = (EncodedTexts.open(folder / f"{split}.arrow") for split in ("train", "validation"))
    size = tokenizer.load(folder / "tokenizer.json").get_vocab_size()
    return TrialData(*some_rows(train, validation, knobs), size, vectors.load(folder))


def some_rows(train: EncodedTexts, validation: EncodedTexts, knobs: Params) -> tuple[EncodedTexts, EncodedTexts]:
    """The training rows that a trial has, and all validation rows, in memory and without their ids."""
    import numpy as np

    from headway.data.batching.datamodule import subset

    chosen = (train, rows_of_trials(train, knobs)), (validation, np.arange(len(validation)))
    some, held_out = (replace(subset(texts, indices), ids=()) for texts, indices in chosen)
    return some, held_out


def rows_of_trials(train: EncodedTexts, knobs: Params) -> np.ndarray:
    """Indices of the training rows that a trial has, ascending; all if the share of ``tune.train_share`` has none."""
    import numpy as np

    from headway.data.text.splits import unit_hash
    from headway.model.schedule import trial_share

    share = trial_share(knobs.tune.train_share, len(train))
    part = np.flatnonzero([unit_hash(row_id, "search") < share for row_id in train.ids])
    return part if len(part) else np.arange(len(train))


def fitted_ngrams(data: TrialData, knobs: Params, n_classes: int) -> NgramPart | None:
    """N-grams fitted on the rows that a trial trains on, so that a trial is the whole training on fewer rows; None without."""
    from headway.data.batching.datamodule import WholeTexts
    from headway.model.fitting import fit_ngrams
    from headway.search.objective import ngram_part

    ngrams = fit_ngrams(WholeTexts(data.train, data.validation), n_classes, knobs, "tune")
    return ngram_part(ngrams, data.validation, knobs.tune.second_objective) if ngrams is not None else None
