"""What every stage needs to know of texts: markup, scripts, chunks, split names."""
