"""The stocked MLflow that the tests of promotions use too."""

from __future__ import annotations

from tests.promotion.conftest import stock

__all__ = ["stock"]
