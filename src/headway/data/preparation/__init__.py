"""From raw rows to clean splits: validation, near-duplicates, assignment to splits, the profile."""
