"""The search as a page, plots and tables."""
