"""Headway: train, prove and promote self-attention text classifiers."""

__version__ = "0.2.0"
