"""The Hugging Face Hub: tried on a folder in its layout, and without a network."""

import os

import datasets
import httpx
import huggingface_hub
import pandas as pd
import pytest
import tenacity

from headway import network
from headway.data.sources import hub
from headway.data.sources.hub import open_hub
from headway.environment import VARIABLES
from headway.errors import HeadwayError

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

    def reader(name="./reviews", **knobs):
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


def test_class_ids_become_class_names(read_hub, dataset):
    source = read_hub(hub_test_split="test", hub_unlabelled_split="unsupervised")
    rows = [row for batch in source.labelled_batches() for row in batch.to_pylist()]
    names = dataset["label"].map({"negative": "neg", "positive": "pos"})
    expected = list(zip(dataset["text"], names, strict=True))
    assert [(row["text"], row["label"]) for row in rows] == [*expected[500:600], *expected[:500]]
    assert [row["test"] for row in rows] == [True] * 100 + [False] * 500
    unlabelled = [row for batch in source.unlabelled_batches() for row in batch.to_pylist()]
    assert [row["text"] for row in unlabelled] == list(dataset["text"][600:700])
    assert source.version == "0" * 40
    assert source.name == "hub ./reviews"


def test_the_class_id_minus_one_is_a_missing_label(read_hub, dataset):
    (batch,) = read_hub(hub_split="unsupervised").labelled_batches()
    assert set(batch["label"].to_pylist()) == {None}


def test_a_missing_split_or_column_is_an_error(read_hub, dataset):
    with pytest.raises(HeadwayError, match=r"hub \./reviews, split dev: Unknown split .dev.*check data\.hub_split"):
        read_hub(hub_split="dev")
    with pytest.raises(HeadwayError, match=r"hub \./reviews, split train: has no column 'texts' .*did you mean text\?"):
        read_hub(text_column="texts")


def test_only_the_hub_switches_the_network_on(read_hub, monkeypatch):
    """It is off by a variable that libraries read when they are imported, so that all three places count."""
    assert VARIABLES["HF_HUB_OFFLINE"] == "1"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for module in (huggingface_hub.constants, datasets.config):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)

    def state():
        return os.environ.get("HF_HUB_OFFLINE"), huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE

    with hub.online():
        assert state() == (None, False, False)
    assert state() == ("1", True, True)


def test_a_network_failure_and_an_unknown_name_are_one_line(read_hub, monkeypatch):
    monkeypatch.setattr(network, "WAIT", tenacity.wait_none())

    def raising(error):
        def load_dataset(*_, **__):
            assert not huggingface_hub.constants.HF_HUB_OFFLINE
            raise error

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)

    raising(ConnectionError("Couldn't reach 'stanfordnlp/imdb' on the Hub\n(LocalEntryNotFoundError)"))
    with pytest.raises(
        HeadwayError, match=r"^hub stanfordnlp/imdb, split train: Couldn't reach .*; check the network"
    ) as raised:
        read_hub("stanfordnlp/imdb")
    assert "\n" not in str(raised.value)
    raising(datasets.exceptions.DatasetNotFoundError("Dataset 'nobody/nothing' doesn't exist on the Hub"))
    with pytest.raises(HeadwayError, match=r"doesn't exist on the Hub; check data\.hub_name"):
        read_hub("nobody/nothing")


@pytest.fixture
def asked(monkeypatch, dataset):
    """A stand-in for the Hub: records each call, raises the errors in ``troubles``, and then returns three rows."""
    monkeypatch.setattr(network, "WAIT", tenacity.wait_none())
    calls, troubles = [], []

    def load_dataset(*words, **knobs):
        calls.append((*words, knobs))
        if troubles:
            raise troubles.pop(0)
        return datasets.Dataset.from_dict({"text": list(dataset["text"][:3]), "label": ["neg", "pos", "neg"]})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls, troubles


def test_only_the_pinned_revision_is_requested(read_hub, asked):
    read_hub("stanfordnlp/imdb", hub_revision="e6281661ce1c48d982bc483cf8a173c1bbeb5d31", hub_test_split="test")
    assert [(name, knobs["revision"], knobs["split"]) for name, knobs in asked[0]] == [
        ("stanfordnlp/imdb", "e6281661ce1c48d982bc483cf8a173c1bbeb5d31", split) for split in ("test", "train")
    ]


def http_error(status):
    response = httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co"))
    return huggingface_hub.errors.HfHubHTTPError(f"{status}", response=response)


def caused_by(cause):
    error = RuntimeError("a builder failed")
    error.__cause__ = cause
    return error


def test_transient_errors_are_retried_and_refusals_are_not(read_hub, asked):
    calls, troubles = asked
    for trouble in (ConnectionError("reset"), http_error(503), http_error(429), caused_by(TimeoutError("slow"))):
        calls.clear()
        troubles.append(trouble)
        (batch,) = read_hub("stanfordnlp/imdb").labelled_batches()
        assert (batch.num_rows, len(calls)) == (3, 2)
    for trouble in (http_error(404), ValueError("Unknown split"), datasets.exceptions.DatasetNotFoundError("nobody")):
        calls.clear()
        troubles[:] = [trouble]
        with pytest.raises(HeadwayError):
            read_hub("stanfordnlp/imdb")
        assert len(calls) == 1
    calls.clear()
    troubles[:] = [ConnectionError("no network")] * 9
    with pytest.raises(HeadwayError, match=r"no network; check the network, and run again"):
        read_hub("stanfordnlp/imdb")
    assert len(calls) == network.ATTEMPTS


def test_a_folder_is_not_read_instead_of_the_data_set_of_its_name(read_hub, dataset, asked):
    with pytest.raises(
        HeadwayError, match=r"^data\.hub_name: a folder named reviews exists here .*; rename it, or write \./reviews"
    ):
        read_hub("reviews")
    assert asked[0] == []
