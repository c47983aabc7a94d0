"""Benchmarks of a pretrained encoder."""
