"""The index of all pages."""
