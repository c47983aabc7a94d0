"""Benchmarks: each prints a table of what was measured, and of what. None is a test."""
