"""Credentials in URLs: how they are removed from everything that is shown or stored, and where they belong instead."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import unquote

#: What takes the place of a secret value.
HIDDEN = "***"
#: Environment variables with an address that may hold a password, or with a secret.
ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
SECRETS = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "PREFECT_API_KEY",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_SERVER_API_AUTH_STRING",
    "HF_TOKEN",
    "PGPASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_CLIENT_SECRET",
    "RAY_AUTH_TOKEN",
)
#: Shorter secrets are too likely to be ordinary words to be looked for in every text.
SHORTEST_SECRET = 8

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PLAIN_HOST_AND_PORT = re.compile(r"(?:localhost|\d+(?:\.\d+){3}|\[[0-9A-Fa-f:.]+\]):\d+")
_ESCAPED_USER = re.compile(r"(%3A%2F%2F)[^&\s]*%40", re.IGNORECASE)
#: One name and value of a query string or fragment.
_FIELD = re.compile(r"([?&;#])([^=&;?#\s]{1,100})=([^&\s]*)")
_SECRET_FIELD = re.compile(
    r"password|passwd|passphrase|secret|token|signature|credential|authorization|googleaccessid"
    r"|(?:api|access|account)[-_.]?key|^(?:pass|pwd|sig|key|auth|authkey|rlkey|resourcekey|jwt)$",
    re.IGNORECASE,
)
#: ``password=…`` or ``'password': '…'`` in a connection string, a dict or a message. The first branch is prose, to be kept: "asks
#: for a password: put it …".
_ASSIGNMENT = re.compile(
    r"""\b(?:a|the|your) password: (?-i:[a-z]+)(?=\s\w)"""
    r"""|(?<![\w?&;#])(\w*(?:password|passwd|(?:secret|access|account|api)_?key)\\*['"]?\s?[=:]\s?)"""
    r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|['"]?[^\s'"]\S*)""",
    re.IGNORECASE,
)
#: The value of an Authorization header. Without its name, a word after "bearer" that is alone with it or looks like a token.
_HEADER = re.compile(
    r"""(authorization['"]?\s?[:=]\s?['"]?(?:basic|bearer|token)\s+"""
    r"""|(?:^|['":=]\s?)bearer\s+(?=[^\s'"]+(?:['"]|$))|\bbearer\s+(?=\S{20}|(?=\S{8})\S*\d))[^\s'"]+""",
    re.IGNORECASE | re.MULTILINE,
)
#: Schemes in whose URLs a user without a password is no credential. On the web it is a token.
_PUBLIC_USERS = ("postgresql", "postgres", "mysql", "ssh", "sftp", "hdfs")
_NAME = re.compile(r"[\w.-]+@")
#: Where the credentials of a store belong, by the scheme of its URL.
_PLACES = {
    "http": "put its user and password into ~/.netrc",
    "https": "put its user and password into ~/.netrc",
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a profile in ~/.aws",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "set AZURE_STORAGE_CONNECTION_STRING",
    "abfs": "set AZURE_STORAGE_CONNECTION_STRING",
    "postgresql": "set PGPASSWORD or use ~/.pgpass",
    "postgres": "set PGPASSWORD or use ~/.pgpass",
}
_ANYWHERE = "set it in the environment of the program that needs it"


def redact_credentials(text: str) -> str:
    """A text without the credentials in its URLs, connection strings and headers; a text without credentials is unchanged.

    The user and password before a host are left out, and values of fields such as ``password``, ``token`` and
    ``X-Amz-Signature`` become ``***``. A database's user stays if there is no password. Where it is ambiguous whether an @ ends a
    password, it counts as one that does.
    """
    text = _without_known_secrets(text)
    if "@" in text and "://" in text:
        while (shorter := _without_users(text)) != text:  # a password may look like a further user and password
            text = shorter
    if "%40" in text:
        text = _ESCAPED_USER.sub(r"\1", text)
    if "=" in text:
        text = _FIELD.sub(_hide_secret_field, text)
    if "=" in text or ":" in text:
        text = _ASSIGNMENT.sub(_hide_assigned, text)
    return _HEADER.sub(rf"\1{HIDDEN}", text)


def refusal(value: str) -> str:
    """Why a value that is stored under version control is refused, and where its credentials belong; "" if it has none.

    The value itself is not quoted.
    """
    urls = list(_SCHEME.finditer(value))
    for url in urls:
        scheme = url[1].lower().partition("+")[0]
        rest = value[url.end() :]
        user = rest[: _end_of_user(rest)]
        if user and (scheme in ("http", "https") or ":" in unquote(user)):
            return _refused(_PLACES.get(scheme, _ANYWHERE))
    if urls and _FIELD.sub(_hide_secret_field, value) != value:
        scheme = urls[0][1].lower().partition("+")[0]
        if scheme in ("http", "https"):
            return _refused("download its file, for example with `curl -fLo data/input/reviews.csv URL`, and name the file")
        return _refused(_PLACES.get(scheme, _ANYWHERE))
    has_password = not urls and re.match(r"(?!mailto:)[^/\s:@]+:[^/\s@]+@[\w.-]", value)
    return _refused(_ANYWHERE) if has_password or _assigns(value) else ""


def _without_known_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """A text without the passwords of the environment, which a library may quote in any form."""
    for name in ADDRESSES:
        address = environment.get(name, "")
        if "@" in address and address in text:
            found = _SCHEME.match(address)
            text = text.replace(address, (found[0] if found else "") + address.rpartition("@")[2])
    for name in SECRETS:
        secret = environment.get(name, "")
        if len(secret) >= SHORTEST_SECRET and secret in text:
            text = text.replace(secret, HIDDEN)
    return text


def _without_users(text: str) -> str:
    """A text whose URLs have no user and password."""
    shown, position = [], 0
    for found in _SCHEME.finditer(text):
        if found.start() < position:
            continue  # inside of a password
        rest = text[found.end() :]
        shown.append(text[position : found.end()])
        position = found.end()
        user = rest[: _end_of_user(rest)]
        if not (_NAME.fullmatch(user) and found[1].lower().partition("+")[0] in _PUBLIC_USERS):
            position += len(user)
    return "".join([*shown, text[position:]])


def _end_of_user(rest: str) -> int:
    """Length of the user and password, and the @ after them, with which the rest of a URL after ``://`` begins; 0 if none.

    A password may hold any character, although a URL should escape some of them.
    """
    token = re.match(r"\S*", rest)[0]  # type: ignore[index]
    authority = re.match(r"[^/?#]*", token)[0]  # type: ignore[index]
    end = token.rfind("@") + 1
    if "@" in authority:
        return end
    name, colon, port = authority.partition(":")
    if not colon:
        return 0  # host/path@version
    if end:  # user:pass/word@host, unless it is host:80/path@version
        return 0 if _PLAIN_HOST_AND_PORT.fullmatch(authority) else end
    port = port.rstrip(".,;:!)]}>`'\"")
    if name and port and not port.isdigit() and "@" in (line := rest.partition("\n")[0]):
        return line.rfind("@") + 1  # user:pass word@host
    return 0


def _hide_secret_field(found: re.Match[str]) -> str:
    before, name, value = found.groups()
    return f"{before}{name}={HIDDEN}" if value and _SECRET_FIELD.search(unquote(name)) else found[0]


def _hide_assigned(found: re.Match[str]) -> str:
    name, value = found.groups()
    if name is None:
        return found[0]
    if "=" not in name and found.string[: found.start()].endswith(
        "/"
    ):  # the end of a path, as in "'/etc/passwd': not found"
        return found[0]
    quote = value[0] if value[0] in "'\"" else ""  # kept, so that a second time changes nothing
    return f"{name}{quote}{HIDDEN}{quote}"


def _assigns(value: str) -> bool:
    """Whether a connection string sets a password. A colon may be prose, and two equals signs are a comparison."""
    return any("=" in name and ":" not in name and not secret.startswith("=") for name, secret in _ASSIGNMENT.findall(value))


def _refused(remedy: str) -> str:
    return f"contains credentials, which do not belong under version control; {remedy}"
