"""The links of an HTML body and the place of its tracking pixel: RFC 3986, RFC 2854's successors.

The HTML is not rebuilt. It is read as browsers do (HTML §13.2.5), as far as that decides what is a
link: comments, scripts and quoted values contain none, except for the conditional comments that
Outlook reads. What has no end, a tag or a comment, extends to the end of the page.
"""

import re
from collections.abc import Iterator
from html import unescape
from html.entities import html5

from mail.patterns import optional, repeated
from mail.tracking import MAX_URL, host_of, in_a_labels

_SPACE = r"[\t\n\f\r ]"
_VALUE = r"""(?:"[^"]*+"|'[^']*+'|[^\t\n\f\r >"'][^\t\n\f\r >]*+|(?=>))"""
_ATTRIBUTES = "[^>=]*+" + repeated(rf"""=(?:"[^"]*+"|{_SPACE}*+{_VALUE})[^>=]*+""")
_END = r"(?=[\t\n\f\r />])"  # of a name


def _name(name: str) -> str:
    """In any case: faster than a pattern that ignores it."""
    return "".join([f"[{letter}{letter.upper()}]" for letter in name])


_LINK = f"(?:{_name('a')}|{_name('area')}){_END}"
_RAW = [_name(name) for name in ("script", "style", "title", "textarea")]
_RAW_ELEMENTS = "|".join(
    [f"{raw}{_END}{_ATTRIBUTES}>{repeated(f'[^<]++|<(?!/{raw}{_END})')}<" for raw in _RAW]
)
# A tag that no look ahead needs to tell from a link or a raw element: most are.
_OTHER = r"(?:[b-ru-zB-RU-Z]|[tT](?![iIeE])|[sS](?![cCtT]))"
# A URL and its host, as most are: no character has to be decoded, and none needs a closer look.
_PATH = optional(r"[/?#][!#-%'-[\]-~]*+")
_PLAIN = rf"([hH][tT]{{2}}[pP][sS]?://([A-Za-z0-9.-]+)(?::[0-9]{{1,5}})?{_PATH})"
# Everything up to the next link, the value of its href, if that comes first and in double quotes,
# and the other attributes. Nothing but the value is read twice, so a page takes linear time.
_NEXT = re.compile(
    repeated(
        rf"[^<]*+<(?:/"
        rf"|{_OTHER}{_ATTRIBUTES}>"
        rf"|(?!{_LINK}|(?:{'|'.join(_RAW)}){_END})[A-Za-z]{_ATTRIBUTES}>"
        rf"|!--(?!\[if)(?:-?>|{repeated('[^-]++|-(?!-!?>)')}--!?>)"
        rf"|(?![A-Za-z/]|!--(?!\[if))"
        rf"|(?:{_RAW_ELEMENTS}))"
    )
    + f"[^<]*+<{_LINK}"
    + optional(rf"""{_SPACE}++{_name("href")}="(?:{_PLAIN}(?=")|([^"]*+))["]""")
    + f"({_ATTRIBUTES})>"
)


def _first(name: str) -> re.Pattern[str]:
    """Matches attributes up to the value of the first one of this name, which counts."""
    return re.compile(
        repeated(
            rf"[\t\n\f\r /]*+(?!{_name(name)}(?=[\t\n\f\r />=]))[^\t\n\f\r />=]++"
            + optional(rf"{_SPACE}*+={_SPACE}*+{_VALUE}")
        )
        + rf"[\t\n\f\r /]*+{_name(name)}{_SPACE}*+={_SPACE}*+"
        r"""(?:"([^"]*+)"|'([^']*+)'|([^\t\n\f\r >"'][^\t\n\f\r >]*+))"""
    )


_HREF, _DATA_TRACK = _first("href"), _first("data-track")
UNQUOTED = 3  # the group of such a value
_REFERENCE = re.compile(r"&(?:#(?:[0-9]++|[xX][0-9A-Fa-f]++)|([A-Za-z][A-Za-z0-9]*+));?+(=?)")
_OFF = frozenset(("off", "false", "0", "no"))


Link = tuple[int, int, str, str, bool]
"""A link that can be tracked: where the value of its `href` begins and ends, without quotes; the
decoded value; its host, as `in_a_labels` has it; whether the value is in quotes. A plain tuple,
because a page has many."""


def find_links(html: str) -> Iterator[Link]:
    """The links to http and https, in order; not those with `data-track="off"`."""
    at = 0
    while found := _NEXT.match(html, at):
        at = found.end()
        url, host, _, attributes = found.groups()
        is_off = "data-track" in attributes.lower() and _is_off(attributes)
        if url and len(url) <= MAX_URL and not is_off:
            start, end = found.span(1)
            yield start, end, url, host.lower().rstrip("."), True
        elif not is_off and (link := _read_link(html, found)):
            yield link


def _read_link(html: str, found: re.Match[str]) -> Link | None:
    """Any link; None if it cannot be tracked."""
    start, end = found.span(3)
    is_quoted = True
    if start < 0:
        href = _HREF.match(html, *found.span(4))
        if href is None:
            return None
        number = href.lastindex or 0
        start, end = href.span(number)
        is_quoted = number != UNQUOTED
    url = decode_attribute(html[start:end]).strip("\t\n\f\r ")
    host = host_of(url)
    return (start, end, url, in_a_labels(host), is_quoted) if host else None


def _is_off(attributes: str) -> bool:
    found = _DATA_TRACK.match(attributes)
    return found is not None and found[found.lastindex or 0].strip().lower() in _OFF


def decode_attribute(value: str) -> str:
    """The value of an attribute with its character references replaced (HTML §13.2.5.73): `&copy=1`
    stays as it is, other than in text."""
    return _REFERENCE.sub(_decoded, value) if "&" in value else value


def _decoded(reference: re.Match[str]) -> str:
    name, equals = reference[1], reference[2]
    whole = reference[0][: len(reference[0]) - len(equals)]
    if name is None or whole.endswith(";"):
        is_known = name is None or f"{name};" in html5
    else:
        is_known = name in html5 and not equals
    return unescape(whole) + equals if is_known else reference[0]


def end_of_body(html: str) -> int:
    """Where the body ends: a pixel is inserted there."""
    at = max(html.rfind("</body>"), 0)
    return max(at, html.rfind("</BODY>", at)) or len(html)
