"""The data report: one page on what the data are like, with its charts and its remarks in words."""
