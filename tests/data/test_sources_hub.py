"""The Hugging Face Hub: tried on a folder in its layout, and without a network."""

import os

import datasets
import huggingface_hub
import pandas as pd
import pytest

from headway.data.sources import hub
from headway.data.sources.hub import open_hub
from headway.errors import HeadwayError
from headway.quiet import SWITCHES

CARD = """---
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train-*}
  - {split: test, path: data/test-*}
  - {split: unsupervised, path: data/unsupervised-*}
dataset_info:
  features:
  - {name: text, dtype: string}
  - name: label
    dtype: {class_label: {names: {'0': neg, '1': pos}}}
---
"""


@pytest.fixture
def read_hub(params, tmp_path, monkeypatch):
    """Opens the splits of a folder in the Hub's layout."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def reader(name="reviews", **knobs):
        chosen = {"source": "hub", "hub_name": name, "hub_revision": "0" * 40, **knobs}
        return open_hub(params.override({f"data.{knob}": value for knob, value in chosen.items()}).data, tmp_path)

    return reader


@pytest.fixture
def dataset(tmp_path, sentences):
    """Real sentences in the Hub's layout; those without labels have the id -1, as on the Hub."""
    folder = tmp_path / "reviews" / "data"
    folder.mkdir(parents=True)
    (folder.parent / "README.md").write_text(CARD)
    ids = sentences["label"].map({"negative": 0, "positive": 1})
    parts = {"train": (0, 500), "test": (500, 600), "unsupervised": (600, 700)}
    for split, (start, end) in parts.items():
        label = ids[start:end] if split != "unsupervised" else -1
        frame = pd.DataFrame({"text": sentences["text"][start:end], "label": label})
        frame.to_parquet(folder / f"{split}-00000-of-00001.parquet", index=False)
    return sentences


def test_splits_become_rows_with_the_names_of_their_classes(read_hub, dataset):
    source = read_hub(hub_test_split="test", hub_unlabelled_split="unsupervised")
    rows = [row for batch in source.labelled_batches() for row in batch.to_pylist()]
    names = dataset["label"].map({"negative": "neg", "positive": "pos"})
    expected = list(zip(dataset["text"], names, strict=True))
    assert [(row["text"], row["label"]) for row in rows] == [*expected[500:600], *expected[:500]]
    assert [row["test"] for row in rows] == [True] * 100 + [False] * 500
    unlabelled = [row for batch in source.unlabelled_batches() for row in batch.to_pylist()]
    assert [row["text"] for row in unlabelled] == list(dataset["text"][600:700])
    assert source.version == "0" * 40
    assert source.name == "hub reviews"


def test_an_id_that_stands_for_no_class_is_a_gap(read_hub, dataset):
    (batch,) = read_hub(hub_split="unsupervised").labelled_batches()
    assert set(batch["label"].to_pylist()) == {None}


def test_a_split_and_a_column_that_are_not_there_are_told(read_hub, dataset):
    with pytest.raises(HeadwayError, match=r"hub reviews, split dev: Unknown split .dev.*check data\.hub_split"):
        read_hub(hub_split="dev")
    with pytest.raises(HeadwayError, match=r"hub reviews, split train: has no column 'texts' .*did you mean text\?"):
        read_hub(text_column="texts")


def test_the_network_is_on_for_the_hub_alone(read_hub, monkeypatch):
    """It is off by a variable that libraries read when they are imported, so that all three places count."""
    assert SWITCHES["HF_HUB_OFFLINE"] == "1"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for module in (huggingface_hub.constants, datasets.config):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)

    def state():
        return os.environ.get("HF_HUB_OFFLINE"), huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE

    with hub.online():
        assert state() == (None, False, False)
    assert state() == ("1", True, True)


def test_no_network_and_an_unknown_name_are_told_in_one_line(read_hub, monkeypatch):
    def raising(error):
        def load_dataset(*_, **__):
            assert not huggingface_hub.constants.HF_HUB_OFFLINE
            raise error

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)

    raising(ConnectionError("Couldn't reach 'stanfordnlp/imdb' on the Hub\n(LocalEntryNotFoundError)"))
    with pytest.raises(
        HeadwayError, match=r"^hub stanfordnlp/imdb, split train: Couldn't reach .*; check the network"
    ) as told:
        read_hub("stanfordnlp/imdb")
    assert "\n" not in str(told.value)
    raising(datasets.exceptions.DatasetNotFoundError("Dataset 'nobody/nothing' doesn't exist on the Hub"))
    with pytest.raises(HeadwayError, match=r"doesn't exist on the Hub; check data\.hub_name"):
        read_hub("nobody/nothing")
