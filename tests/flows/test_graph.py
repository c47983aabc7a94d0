"""The stage graph as the flow reads it from dvc.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import graph
from headway.errors import HeadwayError


def written(folder: Path, text: str) -> Path:
    file = folder / "dvc.yaml"
    file.write_text(text)
    return file


def test_every_stage_of_the_project_comes_after_those_it_depends_on(repository: Path) -> None:
    stages = graph.read(repository / "dvc.yaml")
    after = {stage.name: set(stage.after) for stage in stages}
    assert after == {
        "ingest": set(),
        "prepare": {"ingest"},
        "tokenize": {"prepare"},
        "baseline": {"prepare"},
        "tune": {"prepare", "tokenize"},
        "train": {"prepare", "tokenize", "tune"},
        "evaluate": {"prepare", "train"},
        "report": {"baseline", "prepare", "tune", "train", "evaluate"},
    }
    order = [stage.name for stage in stages]
    assert all(order.index(before) < order.index(name) for name, names in after.items() for before in names)


def test_the_order_follows_the_dependencies_not_the_lines(tmp_path: Path) -> None:
    file = written(tmp_path, "stages:\n  b: {cmd: x, deps: [a/one.txt]}\n  a: {cmd: y, outs: [{a: {cache: false}}]}\n")
    assert [stage.name for stage in graph.read(file)] == ["a", "b"]


def test_a_folder_depends_on_the_stage_that_makes_a_file_in_it(tmp_path: Path) -> None:
    file = written(tmp_path, "stages:\n  reader: {cmd: x, deps: [out]}\n  writer: {cmd: y, metrics: [out/m.json]}\n")
    assert graph.read(file)[1].after == ("writer",)


def test_names_that_merely_begin_alike_do_not_depend_on_each_other(tmp_path: Path) -> None:
    file = written(tmp_path, "stages:\n  reader: {cmd: x, deps: [data/raw2]}\n  writer: {cmd: y, outs: [data/raw]}\n")
    assert [stage.after for stage in graph.read(file)] == [(), ()]


def test_a_cycle_is_refused_and_named(tmp_path: Path) -> None:
    file = written(tmp_path, "stages:\n  a: {cmd: x, deps: [two], outs: [one]}\n  b: {cmd: y, deps: [one], outs: [two]}\n")
    with pytest.raises(HeadwayError, match=r"cycle: .*→"):
        graph.read(file)


@pytest.mark.parametrize("text", ["", "stages", "other: 1", "stages: [", "stages:\n  a: 1\n"])
def test_an_invalid_stage_graph_is_reported_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(HeadwayError, match=r"dvc\.yaml") as error:
        graph.read(written(tmp_path, text))
    assert "\n" not in str(error.value)
