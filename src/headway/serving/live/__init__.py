"""The model that answers now, and how another one takes its place while requests are answered."""
