"""Headway: train, prove and promote self-attention text classifiers."""

__version__ = "0.1.0"
