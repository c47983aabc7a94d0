"""The data page: its charts and notices."""
