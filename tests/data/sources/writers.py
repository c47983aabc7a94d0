"""Writers of the same table in every kind of file, and compressors."""

import bz2
import gzip

import pyarrow as pa

WRITERS = {
    "reviews.csv": lambda frame, path: frame.to_csv(path, index=False),
    "reviews.CSV": lambda frame, path: frame.to_csv(path, index=False, lineterminator="\r\n"),
    "indexed.csv": lambda frame, path: frame.to_csv(path, encoding="utf-8-sig"),
    "semicolons.csv": lambda frame, path: frame.to_csv(path, sep=";", index=False),
    "bars.csv": lambda frame, path: frame.to_csv(path, sep="|", index=False),
    "tabs.csv": lambda frame, path: frame.to_csv(path, sep="\t", index=False),
    "reviews.tsv": lambda frame, path: frame.to_csv(path, sep="\t", index=False),
    "reviews.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "array.json": lambda frame, path: frame.to_json(path, orient="records"),
    "indented.json": lambda frame, path: frame.to_json(path, orient="records", indent=2),
    "lines.json": lambda frame, path: frame.to_json(path, orient="records", lines=True, force_ascii=False),
    "reviews.parquet": lambda frame, path: frame.to_parquet(path),
    "few categories.parquet": lambda frame, path: frame.astype({"label": "category"}).to_parquet(path),
    "[final] reviews (1)?.csv": lambda frame, path: frame.to_csv(path, index=False),
}
PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": lambda data: pa.compress(data, "zstd", asbytes=True)}


def pairs_of(frame):
    return list(frame.itertuples(index=False, name=None))
