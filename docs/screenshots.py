"""Takes the pictures of the pages in docs/images: from the last run, in Chromium."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from headway.errors import HeadwayError
from headway.layout import Layout
from headway.promotion.test_rows import TestRows
from headway.reporting.explanation import page as explanation
from headway.serving.explain import explain
from headway.serving.package import ModelPackage

IMAGES = Path(__file__).parent / "images"
PAGES = ("index", "decision", "card", "evaluation", "study", "data")
#: Pages of `headway label-errors` and `headway monitor`, taken if they are there.
ON_REQUEST = {"label_errors": ".headway/label_errors.html", "monitor": "reports/monitor.html"}
#: In pixels. A longer page is cut off.
WIDTH, HEIGHT = 1280, 1600
#: Characters of the text that is explained.
SHORT = 300


def main() -> None:
    """Write one picture a page.

    Raises:
        HeadwayError: there is no Chromium, or no run.
    """
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        raise HeadwayError("no Chromium on this machine; on Debian, `apt-get install chromium` installs it")
    layout = Layout.find()
    files = {name: layout.page(name) for name in PAGES}
    if missing := [str(file) for file in files.values() if not file.is_file()]:
        raise HeadwayError(f"{missing[0]}: missing; `make run` draws it")
    files |= {name: layout.root / page for name, page in ON_REQUEST.items() if (layout.root / page).is_file()}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        text = next(text for text in TestRows(layout).texts if len(text) <= SHORT)
        files["explanation"] = Path(folder) / "explanation.html"
        explanation.write(files["explanation"], explain(ModelPackage.load(layout.candidate), text))
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        for name, file in files.items():
            page.goto(file.as_uri())
            height = min(HEIGHT, int(page.evaluate("document.documentElement.offsetHeight")))
            picture = {"x": 0, "y": 0, "width": WIDTH, "height": height}
            page.screenshot(path=IMAGES / f"{name}.png", clip=picture)
        browser.close()


if __name__ == "__main__":
    try:
        main()
    except HeadwayError as error:
        sys.exit(f"screenshots: {error}")
