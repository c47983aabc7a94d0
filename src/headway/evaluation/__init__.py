"""Evaluation: predictions, metrics with intervals, the linear baseline, and plots."""
