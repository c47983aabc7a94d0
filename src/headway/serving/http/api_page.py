"""The page at /docs: the service's OpenAPI description as one HTML document that loads nothing, so that it works offline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem; font-size: 1.15rem }
code, pre { font-family: ui-monospace, monospace; font-size: .9rem }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8888; border-radius: .3rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #8884 }
"""
#: Bodies that show how a path is asked.
EXAMPLES = {
    "/predict": '{"texts": ["a charming film", "a tedious mess"], "top_k": 2}',
    "/explain": '{"text": "a charming film"}',
    "/feedback": '{"labels": [{"request_id": "…", "label": "positive"}]}',
}


def api_page(description: Mapping[str, Any]) -> str:
    """The page for an OpenAPI description."""
    parts = [
        _operation(path, method, found, description)
        for path, methods in description["paths"].items()
        for method, found in methods.items()
    ]
    title, about = escape(description["info"]["title"]), escape(description["info"]["description"])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}: the API</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}: the API</h1>\n"
        f'<p>{about}</p>\n<p>For programs: <a href="openapi.json">openapi.json</a></p>\n'
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _operation(path: str, method: str, found: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    lines = [f"<h2><code>{method.upper()} {escape(path)}</code></h2>", f"<p>{escape(found['description'])}</p>"]
    if body := found.get("requestBody"):
        lines.append(_fields(body["content"]["application/json"]["schema"], description))
        example = json.dumps(json.loads(EXAMPLES[path]), ensure_ascii=False)
        lines.append(
            f"<pre><code>curl -H 'Content-Type: application/json' -H \"Authorization: Bearer $TOKEN\" \\\n"
            f"  -d '{escape(example)}' http://127.0.0.1:8000{escape(path)}</code></pre>"
        )
    rows = [(code, answer["description"]) for code, answer in found["responses"].items() if answer["description"]]
    return "\n".join([*lines, _table(("status", "meaning"), rows)])


def _fields(schema: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    """A table of the fields of a body."""
    schema = _resolved(schema, description)
    rows = [
        (name, f"{_kind(field, description)}. {field.get('description', '')}")
        for name, field in schema["properties"].items()
    ]
    return _table(("field", "value"), rows)


def _resolved(schema: Mapping[str, Any], description: Mapping[str, Any]) -> Mapping[str, Any]:
    if reference := schema.get("$ref"):
        found: Mapping[str, Any] = description["components"]["schemas"][reference.rpartition("/")[2]]
        return found
    return schema


def _kind(schema: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    """A JSON type in a few words."""
    schema = _resolved(schema, description)
    if options := schema.get("anyOf"):
        return " or ".join(_kind(option, description) for option in options)
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {_kind(schema['items'], description)}"
    if kind == "object":
        return "{" + ", ".join(schema.get("properties", {})) + "}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _table(names: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(f"<tr><td><code>{escape(first)}</code></td><td>{escape(second)}</td></tr>" for first, second in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
