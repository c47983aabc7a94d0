"""The model: self-attention, the encoder around it, the classifier on top, and how Lightning trains it."""
