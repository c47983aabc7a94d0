"""A path, glob or URL as a person gives it on the command line."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from headway.data.sources.archives import is_zip

WILDCARDS = re.compile(r"[*?\[]")
URL_WILDCARDS = re.compile(r"[*\[]")  # a question mark begins a URL's query


def path_and_pattern(given: str) -> tuple[str, str]:
    """Split a path, glob or URL into a path, absolute unless it is a URL, and the pattern of the files in it."""
    if given.startswith("file://"):
        given = unquote(urlsplit(given).path)
    if "://" in given:
        folder, _, tail = given.rpartition("/")
        return (folder, tail) if URL_WILDCARDS.search(tail) else (given, "*")
    whole = Path(os.path.expanduser(given)).absolute()  # which, unlike Path.expanduser, never raises
    if whole.exists():
        return str(whole), "*"
    if archive := next((folder for folder in whole.parents if is_zip(folder)), None):
        return str(archive), glob.escape(whole.relative_to(archive).as_posix())
    parts = whole.parts
    fixed = next((index for index, part in enumerate(parts) if WILDCARDS.search(part)), len(parts))
    return str(Path(*parts[:fixed])), "/".join(parts[fixed:]) or "*"
