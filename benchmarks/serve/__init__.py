"""Speed, memory and reliability of labelling files and of answering requests."""
