"""The explanation of one prediction as a page."""
