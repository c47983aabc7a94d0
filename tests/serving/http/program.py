"""A service in a process of its own, as ``headway serve`` runs it, around a package in a folder.

python -m tests.serving.http.program FOLDER SETTINGS, where SETTINGS is JSON. "slow" is how many seconds a batch takes, "load" how
many the model takes to load, "close" how many the end takes, "hang" has labels never be kept,
and "fail" has the workers refuse to start.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from headway.errors import HeadwayError
from headway.serving.http.listener import address_of, bind
from headway.serving.http.settings import ServeSettings
from tests.serving.http.fakes import FakeLive, fake_model


class SlowPackage:
    """A package whose batches take some time."""

    def __init__(self, package: Any, seconds: float) -> None:
        self._package, self.classes, self._seconds = package, package.classes, seconds

    def classify(self, texts: Sequence[object]) -> tuple[np.ndarray, list[str]]:
        time.sleep(self._seconds)
        return self._package.classify(texts)  # type: ignore[no-any-return]


def open_app(folder: str, slow: float, load: float, close: float, hang: bool, fail: bool, settings: ServeSettings) -> Any:
    from headway.serving.http.app import create_app
    from headway.serving.http.server import Opened
    from headway.serving.package import ModelPackage

    if fail:
        raise HeadwayError("there is no champion yet")
    if load:
        say(f"loading in {os.getpid()}")
        time.sleep(load)
    live = FakeLive(fake_model(SlowPackage(ModelPackage.load(Path(folder)), slow), about={"process": os.getpid()}))

    def end() -> None:
        say("closing")
        time.sleep(close)
        say("closed")

    add_labels = (lambda _: time.sleep(1e6)) if hang else None
    return Opened(create_app(live, settings, add_labels=add_labels), "7", end)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    folder, chosen = sys.argv[1], json.loads(sys.argv[2])
    slow, load, close = (chosen.pop(name, 0.0) for name in ("slow", "load", "close"))
    hang, fail = (chosen.pop(name, False) for name in ("hang", "fail"))
    settings = ServeSettings(port=0, **chosen)
    listener = bind(settings)
    application = partial(open_app, folder, slow, load, close, hang, fail)

    def ready(version: str) -> None:
        say(f"version {version} at {address_of(settings, listener)}")

    try:
        if settings.workers == 1:
            from headway.serving.http.server import serve

            opened = application(settings)
            serve(opened, settings, listener, lambda: ready(opened.version))
        else:
            from headway.serving.http.workers import run_workers

            run_workers(application, settings, listener, ready)
    except HeadwayError as error:
        sys.stderr.write(f"headway: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
