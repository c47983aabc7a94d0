"""The registered models that the tests of the Python API use too."""

from __future__ import annotations

from tests.test_api import folder, in_project, registered

__all__ = ["folder", "in_project", "registered"]
