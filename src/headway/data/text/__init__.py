"""Properties of texts that several stages need: markup, scripts, chunks, split names."""
