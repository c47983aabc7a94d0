"""Evaluation: predictions, metrics with confidence intervals, calibration, slices and the linear baseline."""
