"""Fills the reference pages from the code: a line ``<!-- generated: NAME -->`` in a page is replaced by Markdown made here."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from sphinx.application import Sphinx

from headway.params import Params

ROOT = Path(__file__).resolve().parents[2]
#: Modules whose pydantic models and dataclasses are written to files that others read.
RECORDS = (
    "headway.promotion.decision",
    "headway.promotion.check",
    "headway.registry.version_ref",
    "headway.search.results",
    "headway.data.sources.manifest",
)
MARKER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


# params.yaml


def params() -> str:
    """A section for each section of params.yaml, with a table of its knobs."""
    values = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    schema = Params.model_json_schema()
    parts = []
    for name, value in values.items():
        section = _resolve(schema["properties"][name], schema)
        parts.append(f"## {name}\n\n{_plain(_sentence(section.get('description', '')))}\n")
        if isinstance(value, dict):
            rows = list(_knobs(section, value, schema))
            parts.append(_table(("knob", "value in params.yaml", "allowed", "meaning"), rows))
        else:
            parts.append(f"Value in params.yaml: {_code(value)}; allowed: {_allowed(section, schema)}.\n")
    return "\n".join(parts)


def _knobs(
    section: dict[str, Any], values: dict[str, Any], schema: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, ...]]:
    """The rows of a section's table; the knobs of a section in it have its name before theirs."""
    for knob, field in section["properties"].items():
        inner = _resolve(field, schema)
        if "properties" in inner:
            yield from _knobs(inner, values[knob], schema, f"{prefix}{knob}.")
        else:
            yield f"`{prefix}{knob}`", _code(values[knob]), _allowed(field, schema), field.get("description", "")


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return dict(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    return node


def _allowed(node: dict[str, Any], schema: dict[str, Any]) -> str:
    """What a JSON schema allows, in a few words."""
    node = _resolve(node, schema)
    if "enum" in node:
        return " · ".join(f"`{choice}`" for choice in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    if options := node.get("anyOf", node.get("oneOf")):
        return " or ".join(dict.fromkeys(_allowed(option, schema) for option in options))
    kind = node.get("type", "any value")
    if kind == "array":
        return f"list of {_allowed(node.get('items', {}), schema)}"
    if kind == "object":
        if "title" in node and "properties" in node:
            return "a range"
        return f"mapping to {_allowed(node.get('additionalProperties') or {}, schema)}"
    if kind == "string":
        return f"text that matches `{node['pattern']}`" if "pattern" in node else "text"
    if kind == "boolean":
        return "`true` · `false`"
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = " and ".join(f"{sign} {node[key]:,}" for key, sign in bounds.items() if key in node)
    return " ".join(filter(None, [kind, limits]))


# The command line


def cli() -> str:
    """A section for each panel of the help, and in it each command with its arguments and options."""
    from typer.main import get_command

    from headway.cli import app

    root = get_command(app)
    panels: dict[str, list[str]] = {}
    for path, command, panel in _commands(root, "headway", ""):
        panels.setdefault(panel, []).append(_command(path, command))
    parts = [_command("headway", root, heading="")]
    for panel, commands in panels.items():
        parts += [f"## {panel}\n", *commands]
    return "\n".join(parts)


def _commands(group: Any, path: str, panel: str) -> Iterator[tuple[str, Any, str]]:
    for name, command in group.commands.items():
        own = getattr(command, "rich_help_panel", None) or panel
        own = own if isinstance(own, str) else panel
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield f"{path} {name}", command, own
            yield from _commands(command, f"{path} {name}", own)
        else:
            yield f"{path} {name}", command, own


def _command(path: str, command: Any, heading: str = "### ") -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option" and not param.hidden]
    names = [(param.metavar or param.name.upper()) + ("…" if param.nargs == -1 else "") for param in arguments]
    required = [f"{param.opts[0]} {param.name.upper()}" for param in options if param.required]
    usage = " ".join([path, *names, *required, *(["[OPTIONS]"] if len(options) > len(required) else [])])
    if hasattr(command, "commands"):
        usage += " COMMAND …"
    parts = [
        f"{heading}{path}\n" if heading else "",
        f"```text\n{usage}\n```\n",
        f"{inspect.cleandoc(command.help or '')}\n",
    ]
    rows = [(f"`{name}`", getattr(param, "help", "") or "") for name, param in zip(names, arguments, strict=True)]
    for param in options:
        default = (
            f" Default: {_code(param.default)}." if param.default not in (None, "", False) and not param.required else ""
        )
        rows.append((f"`{param.opts[0]}`", f"{param.help or ''}{default}"))
    if rows:
        parts.append(_table(("argument or option", "meaning"), rows))
    return "\n".join(filter(None, parts))


# Records


def records() -> str:
    """A section for each type in the modules of :data:`RECORDS`, with a table of its fields."""
    return "\n".join(_record(kind) for name in RECORDS for kind in _types(importlib.import_module(name)))


def _types(module: ModuleType) -> list[type]:
    return [
        kind
        for kind in vars(module).values()
        if inspect.isclass(kind)
        and kind.__module__ == module.__name__
        and not kind.__name__.startswith("_")
        and ((issubclass(kind, BaseModel) and kind.model_fields) or dataclasses.is_dataclass(kind))
    ]


def _record(kind: type) -> str:
    doc = inspect.cleandoc(kind.__doc__ or "")
    summary, _, attributes = doc.partition("Attributes:\n")
    meanings = _attributes(attributes)
    if issubclass(kind, BaseModel):
        fields = {name: _annotation(field.annotation) for name, field in kind.model_fields.items()}
    else:
        fields = {field.name: _annotation(field.type) for field in dataclasses.fields(kind)}
    rows = [(f"`{name}`", f"`{annotation}`", meanings.get(name, "")) for name, annotation in fields.items()]
    first = summary.strip().split("\n\n")[0].replace("\n", " ")
    return f"## {kind.__name__}\n\n`{kind.__module__}`: {_plain(first)}\n\n" + _table(("field", "type", "meaning"), rows)


def _attributes(text: str) -> dict[str, str]:
    """Descriptions by field, from the "Attributes:" part of a docstring."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        if match := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line):
            names = match[1].split(", ")
            found |= dict.fromkeys(names, match[2])
        elif line.startswith("        "):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        elif line.strip():
            break
    return {name: _plain(meaning) for name, meaning in found.items()}


def _annotation(annotation: Any) -> str:
    name = (
        annotation
        if isinstance(annotation, str)
        else annotation.__name__
        if inspect.isclass(annotation)
        else str(annotation)
    )
    return re.sub(r"\b(?:typing|collections\.abc|headway(?:\.\w+)+)\.", "", name)


# Markdown


def _plain(text: str) -> str:
    """A docstring's roles and double backticks as Markdown."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`")


def _sentence(text: str) -> str:
    text = text.strip()
    return text and f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _code(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "see params.yaml"
    return f"`{json.dumps(value, ensure_ascii=False)}`" if not isinstance(value, str) or not value else f"`{value}`"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    cells = [" | ".join(_escaped(cell) for cell in line) for line in lines]
    return "\n".join(f"| {line} |" for line in cells) + "\n"


def _escaped(cell: str) -> str:
    """A cell on one line, whose asterisks outside of code are asterisks."""
    parts = cell.replace("\n", " ").replace("|", "\\|").split("`")
    return "`".join(part if index % 2 else part.replace("*", "\\*") for index, part in enumerate(parts))


MAKERS = {"params": params, "cli": cli, "records": records}


def _fill(_app: Sphinx, _docname: str, source: list[str]) -> None:
    source[0] = MARKER.sub(lambda match: MAKERS[match[1]](), source[0])


def _always_outdated(_app: Sphinx, env: Any, *_changes: set[str]) -> list[str]:
    """Pages under reference/ are read again in every build, because Sphinx does not know which code they are made from."""
    return sorted(name for name in env.found_docs if name.startswith("reference/"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("source-read", _fill)
    app.connect("env-get-outdated", _always_outdated)
    return {"parallel_read_safe": True, "version": "1"}
