"""The folder of pretrained encoders, data/encoders: what is there, whether it can be trusted, and how one is added."""
