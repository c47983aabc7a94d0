"""The prediction log: what the model answered, kept in Parquet parts, and the true labels that arrive later.

It needs the packages of the ``serving`` extra and nothing else.
"""

from headway.serving.log.feedback import LabelCounts, LabelRow, add_labels
from headway.serving.log.join import JoinCounts, JoinedRow, join_labels
from headway.serving.log.reading import read_log
from headway.serving.log.rows import ServedModelLike
from headway.serving.log.store import UnreadablePart
from headway.serving.log.writer import LogCounters, PredictionLog

__all__ = [
    "JoinCounts",
    "JoinedRow",
    "LabelCounts",
    "LabelRow",
    "LogCounters",
    "PredictionLog",
    "ServedModelLike",
    "UnreadablePart",
    "add_labels",
    "join_labels",
    "read_log",
]
