"""Tokenizers: fitting, encoding, and encoded rows on disk."""
