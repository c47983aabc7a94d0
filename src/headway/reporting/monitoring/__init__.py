"""The page about the champion at work."""
