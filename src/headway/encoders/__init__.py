"""The folder of pretrained encoders, data/encoders: what is there, whether it can be trusted, and how one is added."""

from headway.encoders.folder import EncoderFiles, read
from headway.encoders.limits import longest_text

__all__ = ["EncoderFiles", "longest_text", "read"]
