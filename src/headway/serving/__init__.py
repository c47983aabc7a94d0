"""Serving: the model as a folder of plain files, and how it is loaded and asked."""
