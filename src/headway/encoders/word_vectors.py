"""Word vectors as a static encoder: from a file of GloVe, word2vec or fastText, or from an installed package.

The encoder's folder is the one that model2vec would write: a tokenizer of whole words, whose unknown word has the vector zero and
is left out of texts, and one vector per word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from importlib.metadata import Distribution, PackagePath
from pathlib import Path, PurePosixPath

import numpy as np

from headway.encoders.config import CONFIG
from headway.encoders.folder import TOKENIZER, WEIGHTS
from headway.encoders.origin import Origin, require_as_installed, require_space
from headway.errors import HeadwayError, first_line
from headway.files import sha256_of_file
from headway.params_sections import STATIC_FAMILY

#: Words that are kept, the first ones: files have the most frequent words first, and a model package holds all that are kept.
MOST_WORDS = 500_000
UNKNOWN = "[UNK]"
#: Endings that are no part of an encoder's name.
ENDINGS = re.compile(r"(\.(txt|vec))?(\.(gz|bz2|zst))?$", re.IGNORECASE)


def from_file(path: Path) -> Origin:
    """The vectors in a text file, which may be compressed; its revision is the file's SHA-256."""

    def fill(folder: Path) -> None:
        from headway.data.tokenization import vectors

        found: dict[str, np.ndarray] = {}
        for word, row in vectors.rows(path):
            found.setdefault(word, row)
            if len(found) == MOST_WORDS:
                break
        if not found:
            raise HeadwayError(f"{path}: has no word vectors; use GloVe, word2vec or fastText vectors in text format")
        write(folder, found, np.stack(list(found.values())))

    return Origin(str(path), ENDINGS.sub("", path.name), path.name, sha256_of_file(path), "", fill)


def from_files_of(distribution: Distribution, files: Mapping[PurePosixPath, PackagePath], source: str) -> Origin | None:
    """The vectors in an installed package that has a table of numbers (.npy) beside a table of its words (.parquet).

    Args:
        files: of the package, by their paths.
        source: as in :class:`headway.encoders.origin.Origin`.

    Returns:
        None if there are no such tables, or several.
    """
    tables, indices = ([path for path in files if path.suffix == suffix] for suffix in (".npy", ".parquet"))
    if len(tables) != 1 or len(indices) != 1 or tables[0].parent != indices[0].parent:
        return None
    what = f"package {distribution.name} {distribution.version}"
    places = [files[path] for path in (*tables, *indices)]
    licence = next(iter(distribution.metadata.get_all("License-Expression", [])), "")
    return Origin(what, distribution.name, source, distribution.version, licence, partial(_fill_from_tables, places, what))


def _fill_from_tables(places: list[PackagePath], what: str, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, index = (Path(str(place.locate())) for place in places)
    for place, path in zip(places, (table, index), strict=True):
        require_as_installed(place, path, what)
    try:
        rows, columns = np.load(table, mmap_mode="r", allow_pickle=False), pq.read_table(index)
    except (ValueError, EOFError, pa.ArrowException) as error:
        raise HeadwayError(
            f"{what}: its word vectors cannot be read: {first_line(error)}; install the package again"
        ) from None
    words = columns.column(0).to_pylist() if columns.num_columns == 1 else []
    is_table = rows.ndim == 2 and len(rows) == len(words) > 0 and rows.dtype.kind == "f"
    if not is_table or not all(isinstance(word, str) for word in words):
        raise HeadwayError(
            f"{what}: {table.name} and {index.name} are no word vectors: expected a row of numbers for each of a column of words"
        )
    places_of = {word: place for place, word in reversed(list(enumerate(words[:MOST_WORDS])))}
    kept = sorted(places_of.values())
    vectors = rows[kept].astype(np.float32)
    if not np.isfinite(vectors).all():
        raise HeadwayError(f"{what}: {table.name} has numbers that are not finite; use other word vectors")
    write(folder, [words[place] for place in kept], vectors)


def write(folder: Path, words: Iterable[str], vectors: np.ndarray) -> None:
    """Write a static encoder's files into a folder.

    Words that the tokenizer splits, such as "e-mail" and Chinese words of several characters, could not be found in a text, and
    are left out.

    Args:
        words: different words, (N,). If all are in lower case, texts are lowercased.
        vectors: their vectors, float32, (N, d).

    Raises:
        HeadwayError: no word is left.
    """
    from safetensors.numpy import save
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    require_space(folder, vectors.nbytes, "the encoder")
    all_words = list(words)
    is_lower = all(word == word.lower() for word in all_words if word != UNKNOWN)
    cleaning = normalizers.BertNormalizer(strip_accents=False, lowercase=is_lower)
    splitting = pre_tokenizers.BertPreTokenizer()

    def is_found(word: str) -> bool:
        return [part for part, _ in splitting.pre_tokenize_str(cleaning.normalize_str(word))] == [word]

    kept = [place for place, word in enumerate(all_words) if word != UNKNOWN and is_found(word)]
    if not kept:
        raise HeadwayError(
            "no word of the vectors can be found in a text: the tokenizer splits all of them; use other vectors"
        )
    vectors = vectors[kept]
    ids = {UNKNOWN: 0, **{all_words[place]: index for index, place in enumerate(kept, 1)}}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = cleaning
    tokenizer.pre_tokenizer = splitting
    tokenizer.save(str(folder / TOKENIZER), pretty=False)
    table = np.concatenate([np.zeros((1, vectors.shape[1]), np.float32), vectors])
    (folder / WEIGHTS).write_bytes(save({"embeddings": table}))  # with the permissions of any new file
    config = {"model_type": STATIC_FAMILY, "architectures": ["StaticModel"], "normalize": False}
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
