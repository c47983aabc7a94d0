"""A decision as a page and as a model card."""
