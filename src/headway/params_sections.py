"""The sections of params.yaml: every knob with its range and its description, and the checks between knobs of a section.

No knob has a default here: params.yaml alone holds the values. A knob's description is also its comment in that file; a test
keeps the two equal.
"""

from __future__ import annotations

import codecs
import math
import posixpath
import re
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag, field_validator, model_validator

from headway.ranges import Knob, Section
from headway.yaml_files import shortened

#: A share strictly between 0 and 1.
Share = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Margin = Annotated[float, Field(ge=0, lt=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]
_Auto = Annotated[Literal["auto"], Tag("auto")]
#: Tells a number from the word ``auto``. Its message is that of any other word.
_number_or_auto = Discriminator(
    lambda value: ("auto" if value == "auto" else None) if isinstance(value, str) else "number",
    custom_error_type="number_or_auto",
    custom_error_message="Expected auto, or a number",
)
NonNegativeIntOrAuto = Annotated[Annotated[NonNegativeInt, Tag("number")] | _Auto, _number_or_auto]
PositiveIntOrAuto = Annotated[Annotated[PositiveInt, Tag("number")] | _Auto, _number_or_auto]
ProbabilityOrAuto = Annotated[Annotated[Probability, Tag("number")] | _Auto, _number_or_auto]
PositiveShareOrAuto = Annotated[Annotated[float, Field(gt=0, le=1), Tag("number")] | _Auto, _number_or_auto]

#: Names of columns that the data stages add, or that conditions on slices refer to.
OWN_COLUMNS = ("row", "text", "label", "test", "problem", "id", "label_id", "length", "script")
#: Column of the prepared splits with the time of each row, if ``split.time_column`` is set.
TIME_COLUMN = "time"

#: Sub-words of a text that a pretrained encoder reads, at most: attention takes time and memory with their square.
MAX_SUBWORDS = 8_192
#: Of an adapter, at most: no encoder's layers have so many independent directions to change.
MAX_RANK = 1_024
#: ``model_type`` of static encoders in config.json, as the model2vec library writes it.
STATIC_FAMILY = "model2vec"
#: Characters in the name of a slice; MLflow allows 250 for the whole key.
MAX_SLICE_NAME = 200


def label_text(value: object) -> str | None:
    """A value of a label map as the text that labels are read as; None if YAML read it as something else."""
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return str(int(value)) if value.is_integer() else str(value)
        case _:
            return None


def _is_day(text: str) -> bool:
    """Whether a text is a date in the form 2024-06-30."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


class DataParams(Section):
    """Source of the labelled texts; `headway init --data reviews.csv` fills it in."""

    source: Literal["package", "file", "hub"] = Field(
        description="package: reviews installed with Headway · file: your own data · hub: Hugging Face Hub"
    )
    subset: Literal["imdb", "rotten_tomatoes"] = Field(
        description="For package: imdb (25,000 reviews) · rotten_tomatoes (8,530 sentences)"
    )
    path: Name = Field(
        description="For file: CSV, TSV, JSON, Parquet or text (also .gz, .bz2, .zst, .zip), a folder, or a URL"
    )
    files: Name = Field(description='Glob of the files to read in a folder, such as "reviews-*.csv" or "**/*.parquet"')
    test_files: str = Field(description="Glob of test files. If set, only their rows form the test split")
    unlabelled_files: str = Field(description="Glob of files with unlabelled texts")
    hub_name: str = Field(description="For hub: name of the data set, such as stanfordnlp/imdb")
    hub_revision: str = Field(
        description="Commit hash of the data set, 40 hex digits, so that the data cannot change unnoticed"
    )
    hub_split: Name = Field(description="Split with the labelled texts")
    hub_test_split: str = Field(description="Split with the test texts. If set, only its rows form the test split")
    hub_unlabelled_split: str = Field(description="Split with unlabelled texts")
    text_column: Name = Field(description="Column with the texts")
    label_column: Name = Field(description="Column with the labels")
    label_map: dict[str, str] = Field(
        description='Labels to rename, merge or drop, such as {Positive: positive, pos: positive, n/a: ""}; "" drops the rows'
    )
    corrections: str = Field(
        description='Filled-in lists of `headway label-errors` in data/corrections, such as label_errors.csv or "*.csv"'
    )
    feedback: bool = Field(
        description="Whether labelled answers of the prediction log, collected in data/feedback, are added to the rows"
    )
    slice_columns: list[Name] = Field(
        description="Further columns to keep; test metrics are reported for each of their values"
    )
    split_column: str = Field(
        description="For file: column whose value test marks the test split; other rows are split by hash"
    )
    header: bool = Field(description="Whether the first row of a CSV names its columns")
    columns: list[Name] = Field(
        description="Names of a CSV's columns in place of the header's; without both: column_1, column_2, …"
    )
    txt_files: Literal["table", "document"] = Field(
        description="table: rows, by content · document: one text, labelled by column folder_name, its folder"
    )
    encoding: Name = Field(description="Encoding of text files: auto (detected) · utf-8 · utf-16 · gb18030 · …")
    quoting: Literal["auto", "backslash", "none"] = Field(
        description="auto: CSV quoting · backslash: it escapes quotes, as Spark writes · none: quotes are ordinary characters"
    )
    max_download_mb: NonNegativeFloat = Field(
        description="Size in MB above which a file behind a URL is refused; 0: no limit"
    )
    max_rows: NonNegativeInt = Field(
        description="Approximate number of rows in a fixed random sample, for a quick try; 0: all rows"
    )
    max_characters: PositiveInt = Field(description="Characters of the longest accepted text; longer ones are quarantined")
    max_bad_share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="Share of unusable rows, duplicates aside, above which the pipeline stops"
    )

    @field_validator("label_map", mode="before")
    @classmethod
    def _labels_are_texts(cls, entries: object) -> object:
        """Labels that YAML reads as numbers and booleans become the texts that the data have for them."""
        if not isinstance(entries, dict):
            return entries
        kinds = {isinstance(key, str) for key in entries}
        for key in entries:
            if key == "":
                raise ValueError("a key is empty, expected a label; rows without a label are quarantined")
            # DVC sorts the keys, and cannot sort numbers among texts.
            if not isinstance(key, str) and (label_text(key) is None or len(kinds) > 1):
                name = "null" if key is None else label_text(key) or str(key)
                raise ValueError(f'the key {name} is not a text; put quotes around it: "{name}"')
        texts = {label_text(key): label_text(value) for key, value in entries.items()}
        for key, value in entries.items():
            if label_text(value) is None:
                raise ValueError(
                    f'{key!r} becomes {shortened(repr(value))}, expected a label, or "" to drop the rows with the label {key!r}'
                )
        return texts

    @field_validator("corrections")
    @classmethod
    def _corrections_are_in_their_folder(cls, pattern: str) -> str:
        if pattern.startswith(("/", "~")) or ".." in re.split(r"[/\\]", pattern) or "\0" in pattern:
            raise ValueError("expected the name of a file in data/corrections, or a pattern of names; put the file there")
        return pattern

    @model_validator(mode="after")
    def _columns_encoding_and_revision_are_possible(self) -> Self:
        if self.text_column == self.label_column:
            raise ValueError(f"text_column and label_column are both {self.text_column!r}; expected two different columns")
        for name in self.slice_columns:
            if name in (self.text_column, self.label_column) or self.slice_columns.count(name) > 1:
                raise ValueError(f"slice_columns: {name!r} is named twice; name each further column once")
            if name in OWN_COLUMNS:
                raise ValueError(f"slice_columns: {name!r} is reserved for a column of Headway's; rename it in the data")
        if self.split_column in (self.text_column, self.label_column):
            raise ValueError(f"split_column: {self.split_column!r} is the column of the texts or the labels; name another")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("columns: a name occurs twice; give each column a name of its own")
        if self.encoding != "auto":
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise ValueError(
                    f"encoding: unknown encoding {self.encoding!r}; expected auto, or a name such as utf-8, utf-16 or gb18030"
                ) from None
        if self.source == "hub" and not self.hub_name:
            raise ValueError("hub_name is empty; expected a data set on the Hub, such as stanfordnlp/imdb")
        if self.source == "hub" and not re.fullmatch(r"[0-9a-f]{40}", self.hub_revision):
            raise ValueError(
                f"hub_revision is {self.hub_revision!r}; expected the 40-digit commit hash from the data set's page "
                "(Files, History), since a branch can change"
            )
        return self


class SplitParams(Section):
    """Assignment of rows to splits: by a hash of the text, so that added rows never move old ones, or by time."""

    train: Share = Field(description="Share of the rows to train on; the three shares sum to 1")
    validation: Share = Field(description="Share of the rows for the search, early stopping and every other choice")
    test: Share = Field(description="Share of the rows for the evaluation, the baseline's score and the gate")
    salt: str = Field(description="Added to the text before hashing; another word gives another split")
    near_duplicates: Annotated[float, Field(ge=0, le=1)] = Field(
        description="Jaccard similarity of word triples from which texts share a split; 0: identical texts only"
    )
    first_rows_in_training: PositiveInt = Field(
        description="Rows of each class assigned to training before any are assigned by hash"
    )
    time_column: str = Field(
        description="Column with the time of each row. If set, the latest rows are the test split, those before them validation"
    )
    train_until: str = Field(
        description='With time_column: last day of the rows to train and validate on, such as "2024-06-30"; test rows stay'
    )

    @field_validator("train_until", mode="before")
    @classmethod
    def _last_day_is_a_date(cls, value: object) -> object:
        """DVC refuses a date that YAML reads as one, so it must be a text."""
        if isinstance(value, date):
            raise ValueError(f'{value} is not a text, and DVC reads no dates; put quotes around it: "{value}"')
        if isinstance(value, str) and value and not _is_day(value):
            raise ValueError(f'{shortened(repr(value))} is not a day; expected a date such as "2024-06-30"')
        return value

    @model_validator(mode="after")
    def _shares_sum_to_one_and_days_have_a_column(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train + validation + test must be 1, their sum is {total:g}")
        if self.train_until and not self.time_column:
            raise ValueError("train_until is set, but time_column is empty; name the column with the rows' times")
        return self


class TokenizerParams(Section):
    """Tokenizer, fitted on the training split."""

    kind: Literal["auto", "word", "bpe", "unigram"] = Field(
        description="word · bpe · unigram · auto: word; bpe if many words are rare; unigram for scripts without spaces"
    )
    vocabulary_size: Annotated[int, Field(ge=300)] = Field(
        description="Number of tokens kept, the most frequent first; at most 4,000 if auto chooses bpe"
    )
    min_frequency: PositiveInt = Field(description="Minimum number of occurrences of a word in the vocabulary")
    unicode: Literal["nfkc", "nfc", "none"] = Field(
        description="Normalisation form: nfkc (full-width letters and ligatures become plain) · nfc · none"
    )
    lowercase: bool = Field(description="Whether to lowercase texts")
    strip_accents: bool = Field(description="Whether to remove accents")
    strip_html: bool = Field(description="Whether to remove HTML tags and entities")
    max_length: Annotated[int, Field(ge=2)] = Field(
        description="Tokens kept per text: its first and its last half of this number"
    )
    word_vectors: Annotated[str, Field(pattern=r"^[^/\\]*$")] = Field(
        description='File in data/vectors (GloVe or fastText, as text) that initialises the embeddings; "": random'
    )


class BaselineParams(Section):
    """TF-IDF with logistic regression, the linear baseline of every comparison."""

    max_ngram: Annotated[int, Field(ge=1, le=5)] = Field(description="Words in the longest n-gram")
    min_document_frequency: PositiveInt = Field(description="Training texts in which an n-gram must occur")
    inverse_regularisation: PositiveFloat = Field(description="Inverse of the regularisation strength, scikit-learn's C")


class NgramParams(Section):
    """The model's linear part: logistic regression over n-grams of tokens, fitted first."""

    max_order: Annotated[int, Field(ge=0, le=5)] = Field(description="Tokens in the longest n-gram; 0: no linear part")
    max_words: Annotated[int, Field(ge=0, le=3)] = Field(
        description="Words in the longest n-gram of words, if tokens are pieces of words; 0: none"
    )
    min_document_frequency: PositiveInt = Field(description="Training texts in which an n-gram must occur")
    max_features: PositiveInt = Field(description="Number of n-grams kept, the most frequent first")
    inverse_regularisation: Annotated[list[PositiveFloat], Field(min_length=1)] = Field(
        description="Values of scikit-learn's C, tried in ascending order until validation loss rises"
    )
    scaling: Literal["auto", "log_count_ratio", "inverse_document_frequency"] = Field(
        description="Scale of n-grams: log_count_ratio · inverse_document_frequency · auto: the lower validation loss"
    )


class ModelParams(Section):
    """The model's self-attention part: embedding → self-attention blocks → attention pooling → linear."""

    encoder: Literal["scratch", "pretrained"] = Field(
        description="scratch: trained on these texts, by the knobs below · pretrained: by the section pretrained instead"
    )
    max_length: Annotated[int, Field(ge=2)] = Field(
        description="Tokens read per text: its first and its last half of this number"
    )
    d_model: PositiveInt = Field(description="Width of embeddings and blocks; divisible by n_heads")
    n_heads: PositiveInt = Field(description="Attention heads per block")
    n_layers: PositiveInt = Field(description="Number of blocks")
    dim_feedforward: PositiveInt = Field(description="Width of the feed-forward layer in a block")
    similarity: Literal["inner_product", "cosine"] = Field(
        description="Similarity of query and key: inner_product (scaled) · cosine (with a learned scale)"
    )
    window_size: NonNegativeInt = Field(
        description="Tokens per attention window; pooling combines the windows; 0: one window per text"
    )
    bigram_buckets: NonNegativeIntOrAuto = Field(
        description="Rows in the hash table of bigram embeddings, added to the tokens' · auto: from the vocabulary · 0: none"
    )
    bigram_dropout: Probability = Field(description="Share of bigram embeddings dropped in training")
    embedding_dropout: Probability = Field(
        description="Share of embedding features dropped in training, the same at all positions of a text"
    )
    dropout: Probability = Field(
        description="Share of features dropped within a block in training, the same at all positions of a text"
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model ({self.d_model}) must be divisible by n_heads ({self.n_heads})")
        if (self.d_model // self.n_heads) % 2:
            raise ValueError(
                f"d_model / n_heads ({self.d_model} / {self.n_heads} = {self.d_model // self.n_heads}) must be even, "
                "because rotary position embeddings rotate pairs of features"
            )
        return self


class PretrainedParams(Section):
    """A pretrained encoder as the self-attention part, with a linear layer; read if model.encoder is pretrained."""

    path: Name = Field(description="Folder in data/encoders; `headway encoders` lists and adds them · none")
    revision: str = Field(description='Commit on the Hub that it must have been fetched at, 40 digits; "": any')
    mode: Literal["frozen", "fine_tune", "lora"] = Field(
        description="frozen: only the linear layer is fitted, in minutes · fine_tune: all layers learn · lora: adapters of them"
    )
    pooling: Literal["auto", "layers", "mean", "first", "max"] = Field(
        description="Features of a text: layers (means of all layers) · of the last layer: mean · first (sub-word) · max · "
        "auto: layers for frozen, else mean"
    )
    max_length: Annotated[int, Field(ge=8, le=MAX_SUBWORDS)] = Field(
        description="Sub-words read per text: its first and its last half of this number"
    )
    inverse_regularisation: Annotated[list[PositiveFloat], Field(min_length=1)] = Field(
        description="frozen: values of C for the linear layer, tried in ascending order until validation loss rises"
    )
    learning_rate: PositiveFloat = Field(
        description="Not frozen: peak learning rate of the last layer; the linear layer, and adapters, have ten times as much"
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Not frozen: learning rate of a layer, as a share of that of the layer above"
    )
    layers: NonNegativeInt = Field(
        description="Not frozen: number of the last layers that learn; 0: all, and with fine_tune the embeddings"
    )
    lora_rank: Annotated[int, Field(ge=1, le=MAX_RANK)] = Field(
        description="lora: rank of the adapter of each linear layer; memory and size of a checkpoint grow with it"
    )
    accumulation: PositiveInt = Field(
        description="Not frozen: parts of a batch computed one after the other, to save memory"
    )
    gradient_checkpointing: bool = Field(
        description="Not frozen: whether to compute activations twice instead of keeping them, to save memory"
    )

    @property
    def learns(self) -> bool:
        """Whether the encoder, or adapters of it, learn by gradients."""
        return self.mode != "frozen"

    @property
    def resolved_pooling(self) -> str:
        """The way of pooling that is used; see :data:`headway.model.pretrained.POOLINGS`."""
        if self.pooling != "auto":
            return self.pooling
        return "mean" if self.learns else "layers"

    @field_validator("revision")
    @classmethod
    def _revision_is_a_commit(cls, revision: str) -> str:
        if revision and not re.fullmatch(r"[0-9a-f]{40}", revision):
            raise ValueError(
                f"{shortened(repr(revision))} is not a commit; expected 40 hexadecimal digits, because a branch or a tag can "
                "move; the model's page on the Hub has them (Files, History)"
            )
        return revision


class TrainingParams(Section):
    """Training of the self-attention part."""

    max_epochs: PositiveIntOrAuto = Field(
        description="Passes over the training rows, at most · auto: as many as give enough optimiser steps"
    )
    patience: PositiveIntOrAuto = Field(
        description="Evaluations without a lower validation loss after which training stops · auto: 5"
    )
    tokens_per_batch: PositiveIntOrAuto = Field(
        description="Tokens per batch, padding included · auto: from the number of training tokens"
    )
    learning_rate: PositiveFloat = Field(
        description="Peak learning rate, reached after the warm-up; it then falls linearly to 0"
    )
    warmup_ratio: ProbabilityOrAuto = Field(
        description="Share of all steps over which the learning rate rises from 0 · auto: 0.1"
    )
    gradient_clip_val: PositiveFloat = Field(description="Norm to which larger gradients are scaled down")
    class_weights: Literal["none", "balanced"] = Field(
        description="Weights of the classes in the loss: none · balanced (inversely proportional to their rows)"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        description="float32 · bfloat16 (mixed precision), for a frozen encoder's features too; `make bench-speed` measures both"
    )
    accelerator: Literal["auto", "cpu", "gpu"] = Field(description="auto: a GPU if there is one · cpu · gpu")
    devices: PositiveInt = Field(description="GPUs, or processes on CPUs, that train together (DDP), on all machines")
    threads: PositiveInt = Field(description="CPU threads of each process; results depend on it")
    strategy: Literal["ddp", "ray"] = Field(
        description="Where they train: ddp (this machine, or wherever torchrun has started them) · ray (a cluster)"
    )
    address: str = Field(description='Address of the Ray cluster; "": a temporary one on this machine')


class TuneParams(Section):
    """Hyperparameter search; the stage train uses the best trial's values."""

    trials: PositiveInt = Field(description="Number of trials")
    timeout_minutes: PositiveFloat = Field(
        description="Minutes after which no new trial starts; a search cut short is not reproducible"
    )
    target: NonNegativeFloat = Field(description="Value of the objective at which the search stops; 0: never")
    objective: Literal["macro_f1", "accuracy", "negative_log_likelihood"] = Field(
        description="Metric of the joint model on validation rows: accuracy · macro_f1 · negative_log_likelihood (minimised)"
    )
    second_objective: Literal["none", "latency", "size"] = Field(
        description="none · latency (ms per text) · size (MB) of the joint model, also minimised; disables pruning"
    )
    second_margin: NonNegativeFloat = Field(description="Loss of the first objective accepted for a better second one")
    train_share: PositiveShareOrAuto = Field(
        description="Share of the training rows used in each trial · auto: from the number of rows"
    )
    max_epochs: PositiveIntOrAuto = Field(
        description="Epochs per trial, at most · auto: as many as give enough optimiser steps"
    )
    pruning: bool = Field(description="Whether to stop a trial outside the best third at a quarter or half of its steps")
    executor: Literal["serial", "processes", "ray"] = Field(
        description="Where trials run: serial (this process) · processes (this machine) · ray (a cluster)"
    )
    workers: PositiveInt = Field(description="Trials that run at the same time; results depend on it")
    address: str = Field(description='Address of the Ray cluster; "": a temporary one on this machine')
    storage: str = Field(description='Storage of the study: "" (a file in .headway) · postgresql://user@host/database')
    space: dict[str, Knob] = Field(
        description="Ranges of knobs in model, pretrained, training and tokenizer; trial 0 uses the values above"
    )

    @field_validator("storage")
    @classmethod
    def _storage_is_a_database(cls, url: str) -> str:
        if url and not re.match(r"postgresql(\+\w+)?://.", url):
            # Not quoted, because a URL that is written wrongly may hold a password that cannot be recognised.
            raise ValueError("not a database: expected a URL such as postgresql://user@host/database")
        return url


class EvaluationParams(Section):
    """Metrics on the test split, with confidence intervals, in total and by slice."""

    bootstrap_samples: Annotated[int, Field(ge=100)] = Field(description="Bootstrap resamples per confidence interval")
    confidence: Share = Field(description="Confidence level of the intervals")
    min_slice_rows: PositiveInt = Field(description="Test rows below which a slice or class is marked as small")
    slices: dict[Name, Name] = Field(
        description="Further slices by name, such as {long: length > 2000, praise: '\"great\" in text'}"
    )

    @field_validator("slices")
    @classmethod
    def _mlflow_accepts_the_names(cls, slices: dict[str, str]) -> dict[str, str]:
        for name in slices:
            refused = sorted(set(re.findall(r"[^\w .:/-]", name)))
            if refused:
                raise ValueError(
                    f"the name {name!r} contains {' '.join(map(repr, refused))}, which MLflow refuses; use letters, digits, "
                    "spaces and _ . : / -"
                )
            if len(name) > MAX_SLICE_NAME or posixpath.normpath(f"slices.{name}") != f"slices.{name}":
                raise ValueError(
                    f"the name {name!r} is refused by MLflow; expected at most {MAX_SLICE_NAME} characters, and no / at its end "
                    "or before another / or ."
                )
        return slices


class GateParams(Section):
    """What a candidate must show on the test split to become champion."""

    policy: Literal["superior", "non_inferior"] = Field(
        description="superior: significantly better than the champion · non_inferior: not worse by more than champion_margin"
    )
    champion_margin: Margin = Field(description="Loss of accuracy against the champion that non_inferior accepts")
    baseline_margin: Margin = Field(
        description="Loss of accuracy against the linear baseline accepted at the interval's lower end"
    )
    minimum_gain: Margin = Field(description="Gain of accuracy over the champion that superior requires")
    macro_f1_margin: Margin = Field(description="Loss of macro F1 against the champion accepted at the interval's lower end")
    nll_margin: NonNegativeFloat = Field(
        description="Rise of negative log-likelihood (nats per row) accepted at the interval's upper end"
    )
    calibration_margin: Margin = Field(description="Rise of expected calibration error accepted")
    slice_margin: Margin = Field(description="Loss of accuracy accepted on any slice; refused if significantly larger")
    min_slice_rows: PositiveInt = Field(description="Minimum number of test rows for a slice to be checked")
    min_test_rows: PositiveInt = Field(description="Minimum number of test rows for a decision")
    detectable_gain: Margin = Field(
        description="True gain of accuracy that the test must detect with 80% power, else refused; 0: only reported"
    )
    max_latency_ms: NonNegativeFloat = Field(
        description="95th percentile of the latency for one text, in ms, at most; 0: no limit"
    )
    max_latency_ratio: NonNegativeFloat = Field(
        description="Latency at most, as a multiple of the champion's; 0: no limit, or 2 if the champion exceeds "
        "max_latency_ms now too"
    )
    max_size_mb: NonNegativeFloat = Field(description="Size of the model package in MB, at most; 0: no limit")
    max_size_ratio: NonNegativeFloat = Field(description="Size at most, as a multiple of the champion's; 0: no limit")
    confidence: Share = Field(
        description="1 minus the probability of any false promotion over all decisions on one test set"
    )
    bootstrap_samples: Annotated[int, Field(ge=100)] = Field(description="Bootstrap resamples per confidence interval")
    approval: Literal["automatic", "required"] = Field(
        description="automatic: a candidate that passes is promoted · required: it waits until a person approves it"
    )


class RegistryParams(Section):
    """Names in MLflow, and the model card."""

    experiment: Name = Field(description="MLflow experiment")
    model_name: Annotated[str, Field(pattern=r"^\w[\w .-]*$")] = Field(description="Registered model")
    project_id: Annotated[str, Field(pattern=r"^[\w.-]*$")] = Field(
        description="Identity of this project among those on a shared MLflow server; filled in by headway init"
    )
    intended_use: str = Field(description="For the model card: intended users and uses, and uses to avoid")
    auto_rollback: bool = Field(
        description="Whether monitoring restores the former champion, served as shadow, once labels show that it was better"
    )


class LogParams(Section):
    """The prediction log: what was answered, kept for monitoring and for true labels that arrive later."""

    folder: str = Field(description='Folder, or URL such as s3://bucket/log, of the log; "": no log')
    texts: Literal["none", "hashed", "full"] = Field(
        description="What is kept of a text: none · hashed (SHA-256, by which labels find it) · full (hash and text)"
    )
    keep_days: int = Field(ge=0, le=36_500, description="Days after which `headway gc` removes what was logged; 0: never")


class ServingParams(Section):
    """What is kept when the model answers."""

    log: LogParams = Field(
        description="The prediction log: what was answered, kept for monitoring and for true labels that arrive later"
    )


class MonitorParams(Section):
    """How `headway monitor` watches the champion."""

    confidence: Share = Field(
        description="1 minus the probability of any false warning or alarm in the whole time of a champion"
    )
    margin: Margin = Field(description="Loss of accuracy against that of the champion's decision that is accepted")
    recent_rows: PositiveInt = Field(description="Answers, at least, of the days that stand for the present")


class RetrainParams(Section):
    """When `headway retrain --if-needed` retrains."""

    on_alarm: bool = Field(description="Whether an alarm of `headway monitor` is a reason")
    new_labels: NonNegativeInt = Field(
        description="Labels that have arrived since the last decision from which they are a reason; 0: never"
    )
