"""From ingested rows to clean splits: validation, near-duplicates, split assignment, and a profile of the result."""
