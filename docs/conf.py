"""Sphinx settings. Everything is offline: system fonts, no outside assets, no inventory of another project."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import headway
from headway.serving.explain import Explanation

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
# The API imports these two for type checkers only; autodoc resolves annotations by the module's names.
headway.np, headway.Explanation = np, Explanation  # type: ignore[attr-defined]

project = "Headway"
author = "The Headway authors"
release = version = headway.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "generated_reference"]
exclude_patterns = ["_build", "_ext", "examples"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
nitpick_ignore_regex = [("py:class", r"(numpy|np|os|collections|pathlib)\..*"), ("py:class", r"ModelPackage|Path|optional")]

html_theme = "furo"
html_title = f"Headway {release}"
html_static_path: list[str] = []
html_show_sphinx = False
html_copy_source = False
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"
pygments_style = "friendly"
pygments_dark_style = "monokai"
FONTS = {
    "font-stack": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', Arial, sans-serif",
    "font-stack--monospace": "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace",
}
html_theme_options = {"light_css_variables": FONTS, "dark_css_variables": FONTS, "footer_icons": []}
