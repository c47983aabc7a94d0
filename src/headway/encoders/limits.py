"""What an encoder's configuration says about its use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Families whose first positions are not used: a text has fewer positions than the table of position embeddings.
OFFSET_POSITIONS = {"camembert", "mpnet", "roberta", "xlm-roberta"}


def longest_text(config: Mapping[str, Any]) -> int | None:
    """The number of sub-words that an encoder can read; None if it has no limit."""
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int):
        return None
    padding = config.get("pad_token_id")
    offset = (padding if isinstance(padding, int) else 0) + 1 if config.get("model_type") in OFFSET_POSITIONS else 0
    return positions - offset
