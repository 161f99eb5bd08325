"""Click tracking links and the open tracking pixel: RFC 3986, RFC 2854.

The HTML is not rebuilt: only the URL inside `href` changes. A tracking link contains its target and
an HMAC over tenant, message and target, so it is not an open redirect.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape, unescape
from urllib.parse import urlsplit
from uuid import UUID

from mail import signed_token

_CLICK, _OPEN = b"click", b"open"
MAX_URL = 4096
_START = re.compile(r"<(?:a|area)(?=[\s/])", re.IGNORECASE)
_REST = re.compile(r"""(?:[^<>"']++|"[^"]*+"|'[^']*+')*+""")
_ATTRIBUTE = re.compile(
    r"""([^\s"'<>/=]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'<>]++)))?""",
)
_OFF = frozenset(("off", "false", "0", "no"))
_TEXT_URL = re.compile(r"https?://[^\s<>\"'`{}|\\^\x00-\x20\x7f]+", re.IGNORECASE)
_TRAILING = ".,;:!?)]}'\"*_"
_BODY_END = re.compile(r"</body\s*>", re.IGNORECASE)
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\\u0080-\u009f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Click:
    """A followed link of a message, with its target."""

    tenant_id: UUID
    message_id: UUID
    url: str


@dataclass(frozen=True, slots=True)
class PixelOpen:
    """A fetched pixel of a message."""

    tenant_id: UUID
    message_id: UUID


def is_trackable(url: str) -> bool:
    """Whether a link can be tracked: http or https, with a host, without control characters."""
    if len(url) > MAX_URL or _FORBIDDEN.search(url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme.lower() in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def rewrite_html(html: str, replace: Callable[[str], str]) -> str:
    """The HTML with `replace(url)` in place of the URL of every trackable link.

    A link with `data-notrack` or `data-track="off"` is unchanged.
    """
    pieces: list[str] = []
    done = 0
    for start in _START.finditer(html):
        if start.start() < done:
            continue
        rest = _REST.match(html, start.end())
        end = rest.end() if rest else len(html)
        if html[end : end + 1] == "<":
            continue  # an unclosed tag
        if html[end : end + 1] != ">":
            break  # an unclosed quote: the rest is inside it
        pieces += (html[done : start.end()], _rewrite_tag(html[start.end() : end], replace))
        done = end
    pieces.append(html[done:])
    return "".join(pieces)


def _rewrite_tag(attributes: str, replace: Callable[[str], str]) -> str:
    found = {match[1].lower(): match for match in reversed(list(_ATTRIBUTE.finditer(attributes)))}
    href = found.get("href")
    if href is None or "data-notrack" in found or _value(found.get("data-track")).lower() in _OFF:
        return attributes
    url = unescape(_value(href)).strip()
    if not is_trackable(url):
        return attributes
    group = next(number for number in (2, 3, 4) if href[number] is not None)
    quoted = escape(replace(url))
    before, after = attributes[: href.start(group)], attributes[href.end(group) :]
    return f'{before}"{quoted}"{after}' if group == 4 else before + quoted + after


def _value(attribute: re.Match[str] | None) -> str:
    if attribute is None:
        return ""
    return attribute[2] or attribute[3] or attribute[4] or ""


def rewrite_text(text: str, replace: Callable[[str], str]) -> str:
    """The text with `replace(url)` in place of every URL; trailing punctuation is kept."""

    def swap(match: re.Match[str]) -> str:
        url = match[0].rstrip(_TRAILING)
        if match[0][len(url) : len(url) + 1] == ")" and "(" in url:
            url += ")"
        return replace(url) + match[0][len(url) :] if is_trackable(url) else match[0]

    return _TEXT_URL.sub(swap, text)


def add_pixel(html: str, url: str) -> str:
    """The HTML with an invisible image at its end, inside the body if there is one."""
    image = f'<img src="{escape(url)}" width="1" height="1" alt="" style="display:none">'
    ends = list(_BODY_END.finditer(html))
    if not ends:
        return html + image
    return html[: ends[-1].start()] + image + html[ends[-1].start() :]


def click_token(click: Click, key: bytes) -> str:
    """The token of a link. Raises ValueError for a target that cannot be tracked."""
    if not is_trackable(click.url):
        raise ValueError(f"{click.url[:80]!r} is not an http(s) URL")
    payload = click.tenant_id.bytes + click.message_id.bytes + click.url.encode("utf-8")
    return signed_token.sign(_CLICK, payload, key)


def read_click(text: str, keys: Iterable[bytes]) -> Click | None:
    """The click that a token stands for; None if it is forged: respond 404."""
    payload = signed_token.verify(_CLICK, text, keys)
    if payload is None or len(payload) < 33:
        return None
    url = payload[32:].decode("utf-8", "replace")
    if not is_trackable(url):
        return None
    return Click(UUID(bytes=payload[:16]), UUID(bytes=payload[16:32]), url)


def redirect_location(click: Click) -> str:
    """The Location of the redirect: the target with non-ASCII characters percent-encoded."""
    return "".join(c if c.isascii() else _percent(c) for c in click.url)


def _percent(char: str) -> str:
    return "".join(f"%{octet:02X}" for octet in char.encode("utf-8"))


def open_token(opened: PixelOpen, key: bytes) -> str:
    """The token of a pixel."""
    return signed_token.sign(_OPEN, opened.tenant_id.bytes + opened.message_id.bytes, key)


def read_open(text: str, keys: Iterable[bytes]) -> PixelOpen | None:
    """The open that a token stands for; None if it is forged."""
    payload = signed_token.verify(_OPEN, text, keys)
    if payload is None or len(payload) != 32:
        return None
    return PixelOpen(UUID(bytes=payload[:16]), UUID(bytes=payload[16:]))
