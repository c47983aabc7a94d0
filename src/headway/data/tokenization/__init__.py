"""Tokenizers: fitting one, encoding texts with it, and encoded texts on disk."""
