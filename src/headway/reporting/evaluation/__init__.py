"""The evaluation report: the metrics, slices, plots and worst mistakes of one model as a page."""
