"""Prints the requirements of one extra of pyproject.toml, and further packages, for a lock of these alone: EXTRA PACKAGE…"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extra, *further = sys.argv[1:]
sys.stdout.writelines(f"{line}\n" for line in [*project["optional-dependencies"][extra], *further])
