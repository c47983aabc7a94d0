"""Data: where texts come from, how they are cleaned, split and encoded, and how batches are cut from them."""
