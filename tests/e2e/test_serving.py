"""The champion at work: asked over HTTP and in files with the same answers, replaced under load, logged, and judged by labels."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headway.params import LogParams
from headway.registry.registry import Registry
from headway.serving.log import JoinCounts, join_labels
from headway.serving.package import ModelPackage, save
from headway.serving.package.config import TOKENIZER
from tests.e2e.conftest import SECONDS, Clone, end, free_port, wait_for
from tests.real_texts import chinese

pytestmark = pytest.mark.e2e
TEXTS = ["a moving and funny film", "dull from start to end", *chinese(4)[0]]


@contextmanager
def service(clone: Clone, output: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """``headway serve``, which writes to a file: its address once it is ready, and its process."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    process = clone.start("headway", "serve", "--port", str(port), *options, log=output)
    try:
        wait_for(lambda: "serving model version" in output.read_text() or process.poll() is not None, SECONDS, "the service")
        assert process.poll() is None, output.read_text()
        yield address, process
    finally:
        end(process)


def ask(address: str, path: str, body: object = None) -> Any:
    """The JSON that the service answers."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_the_champion_gives_the_same_answers_over_http_and_in_files_and_is_judged_by_its_log(
    ran: Clone, tmp_path: Path
) -> None:
    source, out, log = tmp_path / "texts.csv", tmp_path / "labels.csv", tmp_path / "log"
    with source.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in TEXTS)])
    done = ran.run("headway", "predict", str(source), "--out", str(out))
    assert done.returncode == 0, done.stderr
    with out.open(encoding="utf-8", newline="") as file:
        in_file = list(csv.DictReader(file))

    ran.edit(('    folder: ""', f'    folder: "{log}"'))
    with service(ran, tmp_path / "service.txt") as (address, process):
        assert ask(address, "/model")["version"] == "1"
        answer = ask(address, "/predict", {"texts": TEXTS})
        predictions = answer["predictions"]
        truth = [{"request_id": one["id"], "label": one["label"]} for one in predictions[:-1]]
        assert ask(address, "/feedback", {"labels": truth})["added"] == len(truth)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0

    assert answer["model"]["version"] == "1"
    assert [one["label"] for one in predictions] == [row["label"] for row in in_file]
    assert [one["probability"] for one in predictions] == pytest.approx(
        [float(row["probability"]) for row in in_file], abs=1e-6
    )

    late = tmp_path / "late.csv"
    other = "negative" if predictions[-1]["label"] == "positive" else "positive"
    late.write_text(f"request_id,true_label\n{predictions[-1]['id']},{other}\n", encoding="utf-8")
    done = ran.run("headway", "label", str(late))
    assert done.returncode == 0, done.stderr
    found = list(join_labels(LogParams(folder=str(log), texts="hashed", keep_days=0), counts=(counts := JoinCounts())))
    assert (counts.rows, counts.joined, counts.unmatched) == (len(TEXTS), len(TEXTS), 0)
    assert [row.true_label == row.label for row in found] == [True] * (len(TEXTS) - 1) + [False]


def other_version(clone: Clone, folder: Path) -> Any:
    """Register the candidate with logits half as large, which changes all of its probabilities; returns the version."""
    package, registry = ModelPackage.load(clone.layout.candidate), Registry(clone.tracker())
    package.classifier.weights /= 2
    tokenizer = clone.layout.candidate / TOKENIZER
    size = package.encoder.tokenizer.get_vocab_size()
    folder.mkdir()
    save(folder, package.classifier, tokenizer, package.encoder.max_length, size, package.classes)
    champion = registry.champion()
    assert champion
    return registry.register(folder, str(champion.run_id), {})


def test_while_the_champion_is_replaced_every_request_is_answered_by_exactly_one_version(ran: Clone, tmp_path: Path) -> None:
    registry = Registry(ran.tracker())
    versions = {"1": registry.version("1"), "2": other_version(ran, tmp_path / "package")}
    expected = {
        number: registry.load(version).predict_proba(TEXTS).max(axis=1)  # type: ignore[arg-type]
        for number, version in versions.items()
    }
    assert expected["1"] != pytest.approx(expected["2"], abs=1e-3)
    done, seen = threading.Event(), []

    with service(ran, tmp_path / "service.txt", "--check-seconds", "0.2") as (address, _), ThreadPoolExecutor(4) as pool:

        def keep_asking() -> None:
            while not done.is_set():
                answer = ask(address, "/predict", {"texts": TEXTS})  # raises for any status but 200
                version = answer["model"]["version"]
                assert [one["probability"] for one in answer["predictions"]] == pytest.approx(expected[version], abs=1e-5)
                seen.append(version)

        asking = [pool.submit(keep_asking) for _ in range(4)]
        try:
            for number in ("2", "1", "2", "1"):
                registry.set_champion(versions[number])
                wait_for(lambda wanted=number: ask(address, "/model")["version"] == wanted, SECONDS, f"version {number}")
                before = len(seen)
                wait_for(lambda so_far=before: len(seen) > so_far + 8, SECONDS, "answers of that version")
        finally:
            done.set()
        for one in asking:
            one.result()
    assert set(seen) == {"1", "2"}
