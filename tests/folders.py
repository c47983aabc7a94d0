"""A hash of a folder, to compare folders."""

from __future__ import annotations

import hashlib
from pathlib import Path

from headway.files import sha256_of_file


def sha256_of_folder(path: Path) -> str:
    """Hex SHA-256 over the names and contents of all files below a folder."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_of_file(file)}\n".encode())
    return digest.hexdigest()
