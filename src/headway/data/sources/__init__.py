"""Where texts come from: the package that ships real reviews, files of one's own, or the Hugging Face Hub."""
