"""The pages for people, at the root of the service and at ``/status``: HTML documents with one inline style sheet and script.

The service has no template library, so the parts are put together here. The look is that of the reports
(``headway/reporting/frame.html``).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
#: Parts of each page's script, in order. Each uses what those before it define.
SCRIPTS = ("elements.js", "csv.js", "service.js", "model.js", "text.js", "table.js")
STATUS_SCRIPTS = ("elements.js", "service.js", "status.js")


@cache
def page() -> str:
    """The page at the root. It loads nothing from outside, and needs no more than its own style sheet and script."""
    return _document("document.html", SCRIPTS)


@cache
def status_page() -> str:
    """The page at ``/status``, which asks the service for what it shows; otherwise as :func:`page`."""
    return _document("status.html", STATUS_SCRIPTS)


def _document(name: str, scripts: tuple[str, ...]) -> str:
    script = "\n".join(_read(one) for one in scripts)
    return _read(name).replace("/* style */", _read("style.css")).replace("/* script */", script)


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
