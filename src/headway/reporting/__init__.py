"""Every page, plot, table and template. Nothing here computes a result."""
