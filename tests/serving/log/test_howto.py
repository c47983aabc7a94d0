"""The page about the prediction log: its Python runs as written, and its numbers are those of the code."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headway.params import LogParams
from headway.serving.log import LabelRow, add_labels
from headway.serving.log.rows import SCHEMA
from headway.serving.log.writer import Limits
from tests.serving.conftest import TEXTS


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "howto" / "prediction_log.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_runs_as_written(
    page: str, answer: Callable[..., np.ndarray], log_params: LogParams, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(["a", "b"], TEXTS[:2])
    add_labels(log_params, [LabelRow("unknown", request_id="a"), LabelRow("gone", request_id="c")], "a")
    scope: dict[str, Any] = {}
    scripts = re.findall(r"^```py\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    script = "\n".join(scripts).replace("datetime(2026, 12, 1)", "datetime(2020, 12, 1)")
    exec(script.replace("s3://my-bucket/reviews/log", log_params.folder), scope)
    assert capsys.readouterr().out.splitlines() == ["2", "0 of 1 right; 1 labels without an answer"]


def test_the_page_has_every_column_and_the_limits_of_the_code(page: str) -> None:
    assert [name for name in SCHEMA.names if f"`{name}`" not in page] == []
    limits = Limits()
    for number, unit in (
        (limits.seconds_per_part, "seconds"),
        (limits.rows_per_part, "rows"),
        (limits.rows_waiting, "of them"),
        (limits.characters_waiting // 10**6, "million characters"),
    ):
        assert f"{number:,.0f} {unit}" in " ".join(page.split())
