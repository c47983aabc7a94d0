"""Benchmarks: each prints a table measured in the run that prints it. None is a test."""
