"""compose.yaml, and the Dockerfile, as data."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE = DOCKER / "compose.yaml"
DOCKERFILE = DOCKER / "Dockerfile"

POSTGRES_PORT = 5432  # of the official image, which compose.yaml leaves as it is
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<operator>:[-?])?(?P<operand>[^}]*)\}")
ADDRESS = re.compile(r"(?<=[/@])(?P<host>[a-z][a-z-]*|[0-9.]+):(?P<port>\d+)")
PORT_OPTION = re.compile(r"-[\w.-]*port=(\d+)")


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


@cache
def services(path: Path = COMPOSE) -> dict[str, dict[str, Any]]:
    return yaml(path)["services"]


def substitute(text: str, values: dict[str, str]) -> str:
    """The text with compose's ${variables} filled in: with these values, else with their defaults."""
    return VARIABLE.sub(lambda found: values.get(found["name"], found["operand"] if found["operator"] == ":-" else ""), text)


def words(service: dict[str, Any]) -> list[str]:
    """Every string that a service's programs are given."""
    health = service.get("healthcheck", {}).get("test", [])
    return [*service.get("command", []), *service.get("environment", {}).values(), *health]


def listening_ports(service: dict[str, Any]) -> list[int]:
    """The ports that a service's own command or settings name, the one for others first."""
    named = [found[1] for word in service.get("command", []) if (found := PORT_OPTION.fullmatch(word))]
    named += [found[1] for word in service.get("command", []) if (found := re.search(r"listen-address=\S+:(\d+)", word))]
    named += [
        value for name, value in service.get("environment", {}).items() if name.endswith(("WEBSERVER_PORT", "HTTP_PORT"))
    ]
    return [int(port) for port in named] or ([POSTGRES_PORT] if "postgres" in service["image"] else [])


def dependencies(name: str, every: dict[str, dict[str, Any]] | None = None) -> set[str]:
    """The services that are up before this one, at first or second hand."""
    every = every or services()
    direct = set(every[name].get("depends_on", {}))
    return direct.union(*(dependencies(one, every) for one in direct))


@cache
def stages() -> dict[str, str]:
    """The Dockerfile's stages by name, each with its own lines."""
    parts = re.split(r"^FROM .* AS (\S+)$", DOCKERFILE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def image_environment() -> dict[str, str]:
    """The Dockerfile's ENV."""
    lines = DOCKERFILE.read_text().replace("\\\n", " ").splitlines()
    pairs = [pair for line in lines if line.startswith("ENV ") for pair in line.split()[1:]]
    return dict(pair.split("=", 1) for pair in pairs)
