"""The page of the service in a real browser: a text is classified and explained, and a CSV file comes back labelled."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from headway.data.tokenization import tokenizer as tokenization
from headway.serving.explain import attention, explain
from headway.serving.package import ModelPackage
from tests.browser.conftest import LOOKS, REVIEW
from tests.browser.service import Refused, Service
from tests.real_texts import chinese, english, translations
from tests.serving.test_explain import random_package
from tests.serving.test_explain_pretrained import made_package, subword_tokenizer

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

ARABIC = " ".join(translations("ar")[:20])
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """A rough integral: the page shows whatever it gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "STEPS", (4,))
        yield


@pytest.fixture(scope="module")
def package(reviews: Any) -> ModelPackage:
    return random_package(reviews.params, tokenization.load(reviews.layout.encoded / "tokenizer.json"))


@pytest.fixture
def service(package: ModelPackage) -> Iterator[Service]:
    with Service(package).running() as started:
        yield started


@contextmanager
def opened(context: BrowserContext, service: Service, path: str = "", quiet: bool = True) -> Iterator[Page]:
    """A page of the service. At the end it must have asked nobody but the service, and logged no error if it is quiet."""
    page = context.new_page()
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(service.address + path)
    yield page
    page.close()
    assert all(url.startswith((service.address, "blob:")) for url in requests)
    assert [error for error in errors if not (error.startswith("Failed to load resource") and not quiet)] == []


def classify(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.click("text='Classify'")


def choose(page: Page, content: str | bytes, name: str = "reviews.csv") -> None:
    data = content.encode() if isinstance(content, str) else content
    page.set_input_files("#file", {"name": name, "mimeType": "text/csv", "buffer": data})
    page.wait_for_selector("#table-options:not([hidden])")


def labelled(page: Page, wait_for: str = "Done") -> list[dict[str, str]]:
    """Label the file that was chosen, and read the one that the page offers."""
    page.click("#start")
    page.wait_for_selector(f"#table-status:has-text('{wait_for}')")
    return downloaded(page)


def downloaded(page: Page, delimiter: str = ",") -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.click("#download")
    text = download.value.path().read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


def as_csv(rows: Sequence[Sequence[str]], **style: Any) -> str:
    out = io.StringIO()
    csv.writer(out, **style).writerows(rows)
    return out.getvalue()


# The page


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_with_answers_fits_the_screen_and_is_accessible(
    looks: dict[str, BrowserContext], service: Service, look: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    service.token = "a-secret"
    with opened(looks[look], service, quiet=False) as page:
        page.wait_for_selector("#token-section:not([hidden])")
        checked = [Axe().run(page).response["violations"]]
        page.fill("#token", "a-secret")
        page.click("text='Use it'")
        classify(page, ARABIC + " " + REVIEW * 5)
        page.wait_for_selector("#explanation:not([hidden])")
        choose(page, as_csv([["a column with a long name " * 5, "text"], ["", REVIEW], ["", " "], ["x" * 300, ARABIC]]))
        labelled(page)
        assert page.evaluate(OVERFLOW) == 0
        checked.append(Axe().run(page).response["violations"])
    serious = {
        one["id"]: [node["html"][:200] for node in one["nodes"]]
        for found in checked
        for one in found
        if one["impact"] in ("serious", "critical")
    }
    assert serious == {}


def test_the_page_names_the_model_with_its_version_and_its_score(looks: dict[str, BrowserContext], service: Service) -> None:
    service.about = {
        "metrics": {"test_accuracy": 0.91421, "test_macro_f1": 0.9141},
        "decision": {"headline": "version 7 is promoted: better than version 5"},
    }
    with opened(looks["1280 light"], service) as page:
        page.wait_for_selector("#model-facts:has-text('Version 7')")
        assert page.inner_text("h1") == page.title() == "film-reviews"
        facts = "Version 7 · 3 labels · accuracy 0.9142 on test texts · macro F1 0.9141 on test texts"
        assert page.inner_text("#model-facts") == facts
        assert page.inner_text("#model-decision") == "Version 7 is promoted: better than version 5."


def test_a_service_that_fails_is_reported_on_the_page(looks: dict[str, BrowserContext], service: Service) -> None:
    service.failures = [Refused(503, "no answer within 30 seconds")]
    with opened(looks["1280 light"], service, quiet=False) as page:
        classify(page, REVIEW)
        page.wait_for_selector("#text-status .failed")
        assert page.inner_text("#text-status") == "No answer within 30 seconds."
        service.shutdown()
        service.server_close()
        classify(page, REVIEW)
        page.wait_for_selector("#text-status .failed:has-text('does not answer')")


# A token


def test_the_token_is_asked_for_once_and_nothing_keeps_it(looks: dict[str, BrowserContext], service: Service) -> None:
    service.token = "a-secret"
    context = looks["400 dark"]
    with opened(context, service, quiet=False) as page:
        page.wait_for_selector("#token-message:has-text('asks for a token')")
        page.keyboard.type("another")  # the field has the focus
        page.keyboard.press("Enter")
        page.wait_for_selector("#token-message:has-text('does not accept')")
        page.keyboard.type("a-secret")
        page.keyboard.press("Enter")
        page.wait_for_selector("#model-facts:has-text('Version 7')")
        classify(page, REVIEW)
        page.wait_for_selector("#explanation:not([hidden])")
        assert not page.is_visible("#token-section")
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        assert context.cookies() == []
        page.reload()
        page.wait_for_selector("#token-section:not([hidden])")
        assert page.input_value("#token") == ""


def test_a_file_goes_on_once_a_token_that_ended_is_replaced(looks: dict[str, BrowserContext], service: Service) -> None:
    service.token = "old"
    with opened(looks["1280 light"], service, quiet=False) as page:
        page.fill("#token", "old")
        page.click("text='Use it'")
        choose(page, as_csv([["text"], *([text] for text in english(80)[0])], quoting=csv.QUOTE_ALL))
        service.token = "new"
        page.click("#start")
        page.wait_for_selector("#token-section:not([hidden])")
        page.fill("#token", "new")
        page.click("text='Use it'")
        page.wait_for_selector("#table-status:has-text('Done')")
        assert len(downloaded(page)) == 80


# A text


def test_a_text_gets_its_label_its_probabilities_and_the_words_that_moved_it(
    looks: dict[str, BrowserContext], service: Service
) -> None:
    text = f"{REVIEW} 🤷 {REVIEW}"  # a character of two UTF-16 units, so that positions differ after it
    found = explain(service.package, text)
    order = np.argsort(-found.probabilities)
    with opened(looks["1280 light"], service) as page:
        page.fill("#text", text)
        page.press("#text", "Control+Enter")
        page.wait_for_selector("#explanation:not([hidden])")
        assert page.locator("#probabilities .label").all_inner_texts() == [found.classes[index] for index in order]
        shown = page.locator("#probabilities .number").all_inner_texts()
        assert shown == [f"{100 * found.probabilities[index]:.1f}%" for index in order]
        assert page.inner_text("#text-status").startswith(found.classes[found.predicted])
        assert page.text_content("#explained-text") == text
        words = page.eval_on_selector_all(
            "#explained-text span", "found => found.map(one => [one.textContent, Number(one.title.replace('−', '-'))])"
        )
    assert {"charming", "funny", "🤷", "enough"} <= {word for word, _ in words}
    moved = found.linear.tokens.sum() + found.attention.tokens.sum()
    assert sum(value for _, value in words) == pytest.approx(moved, abs=0.005 * (len(words) + 1))


def test_if_another_version_explains_the_page_shows_its_prediction(
    looks: dict[str, BrowserContext], service: Service
) -> None:
    service.explained_by = "8"
    with opened(looks["1280 light"], service) as page:
        classify(page, REVIEW)
        page.wait_for_selector("#explanation:not([hidden])")
        assert page.inner_text("#text-status").endswith("by version 8")


def test_the_words_of_a_pretrained_encoder_are_coloured_too(looks: dict[str, BrowserContext], package: ModelPackage) -> None:
    pretrained = made_package(package.encoder, subword_tokenizer("wordpiece"))
    with Service(pretrained).running() as service, opened(looks["1280 light"], service) as page:
        classify(page, REVIEW)
        page.wait_for_selector("#explanation:not([hidden])")
        assert page.text_content("#explained-text") == REVIEW
        assert page.locator("#explained-text span").count() > 3


@pytest.mark.parametrize(
    ("text", "direction"), [(ARABIC, "rtl"), ("".join(chinese(3)[0]), "ltr")], ids=["Arabic", "Chinese"]
)
def test_a_text_in_any_script_runs_in_its_direction(
    looks: dict[str, BrowserContext], service: Service, text: str, direction: str
) -> None:
    with opened(looks["400 light"], service) as page:
        classify(page, text)
        page.wait_for_selector("#explanation:not([hidden])")
        for field in ("#text", "#explained-text"):
            assert page.eval_on_selector(field, "element => getComputedStyle(element).direction") == direction
        assert page.text_content("#explained-text") == text


def test_a_text_that_cannot_be_classified_says_why(looks: dict[str, BrowserContext], service: Service) -> None:
    with opened(looks["1280 light"], service) as page:
        classify(page, "   ")
        page.wait_for_selector("#text-status .failed:has-text('Not classified: ')")
        assert not page.is_visible("#text-result")


def test_markup_in_texts_and_labels_is_text(looks: dict[str, BrowserContext], service: Service) -> None:
    with opened(looks["1280 light"], service) as page:
        classify(page, "<b>bold</b> <img src=x onerror=alert(1)>")
        page.wait_for_selector("#explanation:not([hidden])")
        assert page.locator("#explained-text b, #explained-text img, #probabilities b").count() == 0
        assert "<b>unsure</b>" in page.locator("#probabilities .label").all_inner_texts()


def test_of_a_thousand_classes_the_top_ones_are_shown(looks: dict[str, BrowserContext]) -> None:
    random = np.random.default_rng(0)
    classes = [f"a rather long name of class {number}" for number in range(1_000)]
    many = SimpleNamespace(
        classes=classes,
        classify=lambda texts: (random.dirichlet(np.ones(1_000), len(texts)).astype(np.float32), [""] * len(texts)),
    )
    with Service(many).running() as service, opened(looks["400 light"], service, quiet=False) as page:  # type: ignore[arg-type]
        service.explains = False
        page.wait_for_selector("#model-facts:has-text('1,000 labels')")
        classify(page, REVIEW)
        page.wait_for_selector("#explanation-status:has-text('No explanation: Explanations need')")
        assert page.locator("#probabilities tr").count() == 10
        assert page.inner_text("#more-labels") == "The 10 most probable of 1,000 labels."
        assert page.evaluate(OVERFLOW) == 0


# A CSV file


def test_a_file_comes_back_with_its_columns_and_the_labels_of_its_texts(
    looks: dict[str, BrowserContext], service: Service
) -> None:
    texts = [*english(150)[0], ARABIC, 'two\nlines, a comma and a "quote"']
    rows = [[str(number), text, f"note {number}"] for number, text in enumerate(texts)]
    with opened(looks["1280 light"], service) as page:
        choose(page, as_csv([["id", "review", "note"], *rows]))
        assert page.inner_text("#column option:checked") == "review"
        found = labelled(page)
    assert [[row["id"], row["review"], row["note"]] for row in found] == rows
    probabilities, _ = service.package.classify(texts)
    assert [row["label"] for row in found] == [service.package.classes[index] for index in probabilities.argmax(axis=1)]
    assert [np.float32(row["probability"]) for row in found] == list(probabilities.max(axis=1))
    assert {(row["model_version"], row["reason"]) for row in found} == {("7", "")}
    assert [len(request["texts"]) for request in service.requests] == [64, 64, 24]


def test_each_row_that_gets_no_label_has_a_reason(looks: dict[str, BrowserContext], service: Service) -> None:
    with opened(looks["1280 light"], service) as page:
        choose(page, "text,kind\na fine film,x\n,x\na bad film,x,more\ntoo short\n")
        found = labelled(page)
        shown = page.locator("#problem-rows tr").all_inner_texts()
        assert "2 rows have a label, 2 without one" in page.inner_text("#table-status")
    assert [bool(row["label"]) for row in found] == [True, False, False, True]
    assert [bool(row["reason"]) for row in found] == [False, True, True, False]
    assert found[2]["kind"] == "x,more"
    assert "3 cells where the first line has 2" in found[2]["reason"]
    assert [re.split(r"\s+", row)[0] for row in shown] == ["2", "3"]


def test_columns_of_the_same_names_are_kept_beside_the_added_ones(
    looks: dict[str, BrowserContext], service: Service
) -> None:
    with opened(looks["1280 light"], service) as page:
        choose(page, "label,text\nmine,a fine film\n")
        (row,) = labelled(page)
        assert row["label"] == "mine"
        assert row["predicted_label"] in service.package.classes
        choose(page, "label,predicted_label,text\n1,2,a fine film\n")
        page.click("#start")
        page.wait_for_selector("#table-status .failed:has-text('rename one of them')")


def test_a_file_without_a_header_keeps_its_first_row(looks: dict[str, BrowserContext], service: Service) -> None:
    with opened(looks["1280 light"], service) as page:
        choose(page, "good;a fine film; about a train\nbad;a bad film; about a ship\n")
        page.uncheck("#has-header")
        assert page.inner_text("#start") == "Label 2 rows"
        page.select_option("#column", label="column_2")
        page.click("#start")
        page.wait_for_selector("#table-status:has-text('Done')")
        found = downloaded(page, delimiter=";")
    assert [(row["column_1"], row["column_2"], row["column_3"]) for row in found] == [
        ("good", "a fine film", " about a train"),
        ("bad", "a bad film", " about a ship"),
    ]


def test_a_busy_service_is_asked_again_and_a_request_that_is_too_large_is_halved(
    looks: dict[str, BrowserContext], service: Service
) -> None:
    service.failures = [Refused(429, "the queue is full", {"Retry-After": "1"}), Refused(503, "no answer in time")]
    service.most_texts = 20
    texts = english(100)[0]
    with opened(looks["1280 light"], service, quiet=False) as page:
        choose(page, as_csv([["text"], *([text] for text in texts)]))
        found = labelled(page)
    assert [row["text"] for row in found] == texts
    assert all(row["label"] for row in found)
    assert max(len(request["texts"]) for request in service.requests) == 16


def test_a_text_that_the_service_refuses_costs_its_own_row_alone(looks: dict[str, BrowserContext], service: Service) -> None:
    service.failures = [Refused(413, "the text is too long")]
    with opened(looks["1280 light"], service, quiet=False) as page:
        choose(page, "text\na fine film\n")
        (row,) = labelled(page)
        assert (row["label"], row["reason"]) == ("", "The text is too long.")


def test_a_file_that_stops_half_way_offers_what_is_done_and_goes_on_from_there(
    looks: dict[str, BrowserContext], service: Service
) -> None:
    texts = english(100)[0]
    with opened(looks["1280 light"], service, quiet=False) as page:
        choose(page, as_csv([["text"], *([text] for text in texts)]))
        page.evaluate(
            "() => { const real = ask; let n = 0; ask = (...asked) => ++n > 1 && n < 3 ? Promise.reject("
            "new ServiceError(500, 'The service failed.')) : real(...asked); }"
        )
        first = labelled(page, wait_for="The service failed. So far: 64 of 100")
        service.version = "8"
        assert page.inner_text("#start") == "Continue with 36 rows"
        found = labelled(page)
    assert [row["text"] for row in first] == texts[:64]
    assert [row["text"] for row in found] == texts
    assert [row["model_version"] for row in found] == ["7"] * 64 + ["8"] * 36


def test_a_person_can_stop_a_file_while_the_service_is_busy(looks: dict[str, BrowserContext], service: Service) -> None:
    service.failures = [Refused(429, "the queue is full", {"Retry-After": "20"})]
    with opened(looks["1280 light"], service, quiet=False) as page:
        choose(page, "text\na fine film\n")
        page.click("#start")
        page.wait_for_selector("#progress-text:has-text('Next attempt in 20 seconds')")
        page.click("#stop")
        page.wait_for_selector("#table-status:has-text('Stopped')")
        assert page.inner_text("#start") == "Continue with 1 row"


def test_a_dropped_file_is_read_like_a_chosen_one(looks: dict[str, BrowserContext], service: Service) -> None:
    with opened(looks["1280 light"], service) as page:
        page.evaluate(
            """() => {
              const data = new DataTransfer();
              data.items.add(new File(["text\\na fine film\\n"], "dropped.csv"));
              document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
            }"""
        )
        page.wait_for_selector("#file-facts:has-text('dropped.csv')")
        assert [row["text"] for row in labelled(page)] == ["a fine film"]


def test_the_keyboard_alone_labels_a_file(looks: dict[str, BrowserContext], service: Service) -> None:
    with opened(looks["1280 light"], service) as page:
        choose(page, "text\na fine film\n")
        page.focus("#file")
        for _ in range(3):
            page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "start"
        page.keyboard.press("Enter")
        page.wait_for_selector("#table-status:has-text('Done')")
        assert page.evaluate("document.activeElement.id") == "start"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_file_is_read_in_its_encoding(looks: dict[str, BrowserContext], service: Service, encoding: str) -> None:
    with opened(looks["1280 light"], service) as page:
        choose(page, "text\nein schöner Film für alle\n".encode(encoding))
        assert "schöner" in page.inner_text("#first-text")
        assert ("save it as UTF-8" in page.inner_text("#file-facts")) == (encoding == "cp1252")
        (row,) = labelled(page)
        assert row["text"] == "ein schöner Film für alle"


CELLS = ["a", "", 'a "quoted" word', "two\r\nlines", "x,y;z\t|", " spaces ", '"', "שלום", "end\n"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "style", [{}, {"quoting": csv.QUOTE_ALL}, {"lineterminator": "\n"}], ids=["plain", "quoted", "unix"]
)
def test_any_cell_is_read_and_written_as_python_does(
    looks: dict[str, BrowserContext], service: Service, delimiter: str, style: dict[str, Any]
) -> None:
    random = np.random.default_rng(0)
    rows = [[str(cell) for cell in random.choice(CELLS, 3)] for _ in range(40)]
    text = as_csv(rows, delimiter=delimiter, **style)
    with opened(looks["1280 light"], service) as page:
        assert page.evaluate("delimiterOf", text) == delimiter
        assert page.evaluate("([text, delimiter]) => parseCsv(text, delimiter)", [text, delimiter]) == rows
        written = page.evaluate("([rows, d]) => rows.map((row) => csvLine(row, d)).join('')", [rows, delimiter])
    assert list(csv.reader(io.StringIO(written, newline=""), delimiter=delimiter)) == rows
