"""Pages, plots, tables and their templates. Nothing here computes a result."""
