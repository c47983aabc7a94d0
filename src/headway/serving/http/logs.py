"""What a process of the service writes to standard error."""

from __future__ import annotations

import logging
import sys


def configure_logs() -> None:
    """Write the access log, changes of the model, and warnings of everything else, to standard error."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
    for name in ("headway.access", "headway.serving.live"):
        logging.getLogger(name).setLevel(logging.INFO)
