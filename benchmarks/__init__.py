"""Benchmarks: each prints a table of what it measured, with what it measured it on. None is a test."""
