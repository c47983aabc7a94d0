"""Write the folder of a virtual environment into its programs again, after the project was moved or copied.

Usage: python .ci/follow_move.py VENV. Only the standard library is used, because the environment's packages may be out of reach.
"""

import os
import re
import sys
from pathlib import Path


def follow_move(venv: Path) -> None:
    """Replace the old folder in the files of ``bin``; ``activate`` comes last, because it tells the old folder after a kill."""
    activate = venv / "bin" / "activate"
    found = re.search(r"^VIRTUAL_ENV=['\"]?(/[^'\"\n]+)", activate.read_text(), re.MULTILINE)
    if found is None or found[1] == str(venv):
        return
    old, new = os.fsencode(found[1]), os.fsencode(venv)
    files = [file for file in activate.parent.iterdir() if file.is_file() and not file.is_symlink()]
    for file in sorted(files, key=lambda file: file == activate):
        content = file.read_bytes()
        if old in content:
            partial = file.with_name(f"{file.name}.partial")
            partial.write_bytes(content.replace(old, new))
            partial.chmod(file.stat().st_mode)
            partial.replace(file)


if __name__ == "__main__":
    follow_move(Path(sys.argv[1]).resolve())
