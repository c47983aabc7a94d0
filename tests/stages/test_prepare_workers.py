"""The stage prepare writes the same bytes whatever scans its rows: in parts of any size, in any order, in processes or on Ray."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from headway import cli
from headway.data.preparation import ingested, scan
from headway.data.preparation.scan import Run, Settings
from headway.errors import HeadwayError
from headway.executors import Serial, WorkerLost
from headway.layout import Layout
from headway.params import TIME_COLUMN, Params
from headway.stages import prepare as stage
from headway.stages.prepare import prepare
from headway.stages.prepare.spread import ATTEMPTS, HERE, ROWS_PER_WORKER, Tasks, Workers
from tests.conftest import Slice
from tests.folders import sha256_of_folder
from tests.real_texts import chinese, english, translations
from tests.stages.test_prepare import put

Row = tuple[Any, ...]
WORDS = ["a", "fine", "dull", "film", "that", "nobody", "saw", "in", "the", "cold", "rain", "of", "may", "but", "loved"]


def bytes_of(layout: Layout, params: Params, workers: Workers = HERE) -> tuple[str, str, bytes] | str:
    """What prepare writes, or the error that it ends with."""
    for folder in (layout.prepared, layout.profile.parent):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        prepare(params, layout, workers)
    except HeadwayError as error:
        return str(error)
    return sha256_of_folder(layout.prepared), sha256_of_folder(layout.profile.parent), layout.metrics("data").read_bytes()


@contextmanager
def in_parts(rows: int, order: Random) -> Iterator[None]:
    """Parts of so many batches, which go to other processes as they would, and come back in any order."""

    @contextmanager
    def running(_: Workers, shared: Settings, __: int) -> Iterator[Run]:
        def run(tasks: Any, take: Callable[[int, Any], None]) -> None:
            results = [(position, _sent(task).run(_sent(shared))) for position, task in enumerate(tasks)]
            order.shuffle(results)
            for position, result in results:
                take(position, _sent(result))

        yield run

    with patch.object(scan, "ROWS_PER_PART", rows), patch.object(stage, "running", running):
        yield


def _sent(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@st.composite
def crowded(draw: st.DrawFn) -> tuple[list[Row], list[str] | None]:
    """Up to 60 rows, many of them equal or nearly equal to rows of other parts, some of a test file, some without labels."""
    sizes = st.integers(1, 16)
    texts = draw(st.lists(st.lists(st.sampled_from(WORDS), min_size=4, max_size=14).map(" ".join), min_size=1, max_size=12))
    changes = st.sampled_from(["{}", "{}", "{} !", "{} again", "<br />{}", "the {}", "{} indeed", " "])
    text = st.builds(lambda base, change: change.format(base), st.sampled_from(texts), changes)
    labels = st.sampled_from(["good", "bad", "good ", "Bad", "so-so", None])
    tested = draw(st.lists(st.tuples(text, labels, st.just(True)), max_size=draw(sizes)))
    rows = draw(st.lists(st.tuples(text, labels), min_size=8, max_size=8 + 2 * draw(sizes)))
    anchors = [
        (f"{word} {number} {word} of a {label} kind", label)
        for label in ("good", "bad")
        for number, word in enumerate(WORDS)
    ]
    return [*tested, *anchors, *rows], draw(st.one_of(st.none(), st.lists(text, min_size=1, max_size=8)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(crowded(), st.integers(1, 40), st.sampled_from([0.0, 0.3, 0.8]), st.randoms(use_true_random=False))
def test_the_bytes_are_the_same_for_parts_of_any_size_that_end_in_any_order(
    project: Layout, params: Params, drawn: Any, size: int, near_duplicates: float, order: Random
) -> None:
    knobs = {"split.near_duplicates": near_duplicates, "split.train": 0.5, "split.validation": 0.25, "split.test": 0.25}
    chosen = params.override({**knobs, "data.max_bad_share": 1.0, "split.first_rows_in_training": 1})
    shutil.rmtree(project.raw, ignore_errors=True)
    put(project, *drawn)
    with patch.object(ingested, "BATCH_ROWS", 3):
        whole = bytes_of(project, chosen)
        with in_parts(size, order):
            assert bytes_of(project, chosen) == whole
    assert list(project.scratch.iterdir()) == []


@pytest.fixture
def many(project: Layout, params: Params) -> tuple[Layout, Params]:
    """Real texts in several languages with duplicates and near-duplicates in other parts, and two classes."""
    base = [*english(400)[0], *chinese(200)[0], *translations("th")[:100], *translations("ar")[:100]]
    texts = [*base, *(f"{text} indeed" for text in base[::3]), *base[::5], *(text.upper() for text in base[::7])]
    put(project, [(text, ("bad", "good")[sum(map(ord, text.lower()[:40])) % 2]) for text in texts], base[1::9])
    return project, params.override({"data.max_bad_share": 1.0})


@pytest.mark.parametrize("engine", ["processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_the_bytes_are_the_same_from_two_workers(many: tuple[Layout, Params], engine: Any) -> None:
    layout, params = many
    whole = bytes_of(layout, params)
    assert not isinstance(whole, str)
    with patch.object(ingested, "BATCH_ROWS", 100), patch.object(scan, "ROWS_PER_PART", 100):
        in_batches = bytes_of(layout, params)  # the batches are the row groups of what is written
        assert bytes_of(layout, params, Workers(2, engine)) == in_batches
    assert (layout.prepared / "train.parquet").exists()
    assert pq.read_metadata(layout.prepared / "train.parquet").num_row_groups > 5


def test_the_bytes_are_the_same_with_times(many: tuple[Layout, Params]) -> None:
    layout, params = many
    rows = pq.read_table(layout.raw / "rows.parquet")
    times = [f"2026-{1 + number % 12:02}-{1 + number % 28:02}" if number % 17 else "soon" for number in range(len(rows))]
    pq.write_table(rows.append_column(TIME_COLUMN, pa.array(times)), layout.raw / "rows.parquet")
    chosen = params.override({"split.time_column": "when", "split.train_until": "2026-09-30"})
    with patch.object(ingested, "BATCH_ROWS", 50):
        whole = bytes_of(layout, chosen)
        assert not isinstance(whole, str), whole
        with in_parts(100, Random(1)):
            assert bytes_of(layout, chosen) == whole


def test_a_part_that_goes_elsewhere_takes_its_own_rows_along_and_no_others(ingested_reviews: Layout) -> None:
    parts = list(scan._parts(ingested_reviews.raw, []))
    sizes = [len(pickle.dumps(part)) for part in parts]
    assert sum(sizes) < 1.5 * sum(batch.nbytes for part in parts for batch in part.batches)


@pytest.fixture
def ingested_reviews(ingested: Slice) -> Layout:
    return ingested.layout


# Lost workers


def test_the_bytes_are_the_same_after_a_worker_was_killed(many: tuple[Layout, Params]) -> None:
    layout, params = many
    cut, killed = scan._parts, []

    def parts(*places: Any) -> Iterator[Any]:
        for number, part in enumerate(cut(*places)):
            yield part
            if number == 3:  # both workers have parts
                worker = next(one for one in psutil.Process().children() if "spawn_main" in " ".join(one.cmdline()))
                worker.kill()
                killed.append(worker.wait(30))

    with patch.object(ingested, "BATCH_ROWS", 100), patch.object(scan, "ROWS_PER_PART", 100):
        whole = bytes_of(layout, params)
        with patch.object(scan, "_parts", parts):
            assert bytes_of(layout, params, Workers(2)) == whole
    assert len(killed) == 1


class Answers:
    """A task whose worker dies the first ``deaths`` times."""

    def __init__(self, value: int, deaths: int) -> None:
        self.value, self.deaths = value, deaths

    def run(self, _: Any) -> int:
        return self.value


def dying(_: Any, task: tuple[int, Answers], __: Any) -> Any:
    number, content = task
    content.deaths -= 1
    return WorkerLost("its worker is gone") if content.deaths >= 0 else (number, content.run(None))


def test_a_task_whose_worker_was_lost_runs_again() -> None:
    found: dict[int, int] = {}
    tasks = [Answers(value, deaths) for value, deaths in ((10, 0), (11, ATTEMPTS - 1), (12, 1))]
    Tasks(found.__setitem__).run(Serial(dying, None, 1), tasks)  # type: ignore[arg-type]
    assert found == {0: 10, 1: 11, 2: 12}


def test_a_task_that_loses_worker_after_worker_ends_the_stage() -> None:
    with pytest.raises(HeadwayError, match="part 1 of the data was lost 3 times"):
        Tasks(lambda *_: None).run(Serial(dying, None, 1), [Answers(1, 0), Answers(2, ATTEMPTS)])  # type: ignore[arg-type]


# How many workers


def test_few_rows_are_scanned_in_this_process_and_many_in_one_process_for_each_core(monkeypatch: Any) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(4), raising=False)
    rows = [0, ROWS_PER_WORKER, 2 * ROWS_PER_WORKER, 100 * ROWS_PER_WORKER]
    assert [Workers().for_rows(count) for count in rows] == [1, 1, 2, 4]
    assert Workers(3).for_rows(0) == 3
    assert Workers(0, "ray", "10.0.0.5:6379").for_rows(10**9) == 0


def test_an_address_without_ray_is_a_mistake(monkeypatch: pytest.MonkeyPatch, project: Layout) -> None:
    monkeypatch.chdir(project.root)
    done = CliRunner().invoke(cli.app, ["prepare", "--address", "10.0.0.5:6379"])
    assert isinstance(done.exception, HeadwayError)
    assert "--executor ray" in str(done.exception)
