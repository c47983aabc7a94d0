"""What the tests of the flows share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows import promotion


@pytest.fixture(scope="module")
def measured_at_once() -> Iterator[None]:
    """Every model answers in 2 ms: to measure takes seconds, and a busy machine is slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(promotion, "measure", lambda models, _: dict.fromkeys(models, 2.0))
        yield
