"""What the log of API requests keeps: no secrets, no addresses and no content of mail."""

import re
from typing import Any, NamedTuple

import msgspec

BODY_BYTES_MAX = 8 * 1024  # a longer body is not kept
TEXT_MAX = 256  # characters of an endpoint or a user agent
KEY_MAX = 64
ITEMS_MAX = 20
DEPTH_MAX = 8

# Whole words, because to look for one with an @ takes quadratic time; a quoted local part (RFC 5321
# §4.1.2) belongs to the word after it.
_WORD = re.compile(r"""(?:"(?:[^"\\]|\\.){0,64}"@)?[^\s<>"',;:()]+""")
_SECRET = re.compile(r"\b\w+_(?:live|test|operator)_\w{8,}")
_SHOWN = ("name", "statusCode", "status", "message", "detail", "errors", "request_id")


class LoggedRequest(NamedTuple):
    """id: a UUIDv7, which has the time. request_body, response_body: of a refusal; empty else."""

    id: str
    account_id: str
    tenant_id: str
    test: bool
    method: str
    endpoint: str
    status: int
    user_agent: str
    request_id: str
    request_body: bytes = b""
    response_body: bytes = b""

    @property
    def octets(self) -> int:
        return len(self.request_body) + len(self.response_body)


def outline(body: bytes) -> str | None:
    """The body of a request as JSON, with the length of each text in its place: what is missing or
    of the wrong type can still be seen. None for what is no JSON."""
    return _rewritten(body, _outlined)


def masked(body: bytes) -> str | None:
    """A problem without the values that it repeats from the request."""
    return _rewritten(body, lambda value, _: _masked(value))


def _rewritten(body: bytes, rewrite: Any) -> str | None:  # noqa: ANN401 - a function on JSON
    if not body:
        return None
    try:
        return msgspec.json.encode(rewrite(msgspec.json.decode(body), 0)).decode()
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def _outlined(value: object, depth: int) -> object:
    if isinstance(value, str):
        return f"[{len(value)} characters]"
    if not isinstance(value, dict | list):
        return value
    if depth == DEPTH_MAX:
        return "[…]"
    if isinstance(value, list):
        return [_outlined(one, depth + 1) for one in value[:ITEMS_MAX]]
    return {_key(name): _outlined(one, depth + 1) for name, one in list(value.items())[:ITEMS_MAX]}


def _key(name: str) -> str:
    return plain(name)[:KEY_MAX]


def _masked(problem: object) -> object:
    if not isinstance(problem, dict):
        return None
    shown = {name: problem[name] for name in _SHOWN if name in problem}
    return _each_text(shown)


def _each_text(value: object) -> object:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {name: _each_text(one) for name, one in value.items()}
    return [_each_text(one) for one in value[:ITEMS_MAX]] if isinstance(value, list) else value


def plain(text: str) -> str:
    """Without addresses, keys and what PostgreSQL cannot store."""
    if not text.isascii() or "\0" in text:
        text = text.replace("\0", "").encode(errors="replace").decode()
    if "@" in text or "%40" in text:  # encoded once too often
        text = _WORD.sub(_hide_address, text)
    return _SECRET.sub("[key]", text) if "_" in text else text


def _hide_address(word: re.Match[str]) -> str:
    has_it = "%40" in word[0] or ("@" in word[0] and word[0].strip("@"))
    return "[address]" if has_it else word[0]


def line(text: str) -> str:
    """An endpoint or a user agent."""
    return plain(text)[:TEXT_MAX]
