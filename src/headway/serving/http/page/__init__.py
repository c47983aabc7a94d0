"""The page for people at the root of the service: one HTML document with one style sheet and one script, both inline.

The service has no template library, so the parts are put together here. The look is that of the reports
(``headway/reporting/frame.html``).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
#: Parts of the one script, in order. Each uses what those before it define.
SCRIPTS = ("elements.js", "csv.js", "service.js", "text.js", "table.js")


@cache
def page() -> str:
    """The document. It loads nothing from outside, and works under a policy that allows its own style sheet and script alone."""
    script = "\n".join(_read(name) for name in SCRIPTS)
    return _read("document.html").replace("/* style */", _read("style.css")).replace("/* script */", script)


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
