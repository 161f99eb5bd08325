"""What a reader sees of an HTML body: its text, links and fields. HTML as in RFC 2854's successors.

One parse (lexbor) gives all, in a time that is bounded; scripts, styles and titles are not text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from selectolax.lexbor import LexborCSSSelector, LexborHTMLParser, LexborNode

MAX_LINKS = 1000
_ELEMENTS = "a,area,img,form,input,iframe,body script,body style"
_UNSEEN = ["script", "style", "title"]
_LEFT_OPEN_MAX = 5000
_DEEP_BYTES = 20_000
# A block's text stands on lines of its own: a line break goes before what ends a block.
_BLOCK_END = re.compile(
    r"<(?=[bhBH][rR]\b|/(?:[pPhH]|[dD][dilDILT]|[tT][abdhrABDHR]|[lL][iI]|[uUoO][lL]))"
)
# One for all pages: to make one takes longer than to use it. It holds nothing between two finds.
_SELECTOR: LexborCSSSelector = LexborCSSSelector()  # type: ignore[no-untyped-call]


class Link(NamedTuple):
    """A link: where it goes and the words on it, both as written."""

    href: str
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """An HTML body as its reader sees it."""

    text: str = ""
    links: Sequence[Link] = ()
    tags: Sequence[str] = ()  # of each link, image, form, input, frame, script and style, in order
    passwords: int = 0  # fields that ask for one


def read(html: str | bytes, *, links: int = MAX_LINKS, apart: bool = True) -> Page:
    """Text, links and elements of a body; bytes are UTF-8. Of links, so many at most.

    `apart`: the text is for searching: a blank stands between any two runs of it, be they parts of
    one word, and a title outside of the head may be among them. Else it is as it is shown.
    """
    markup = html if isinstance(html, bytes) else html.encode("utf-8", "ignore")
    tree = LexborHTMLParser(_shallow(markup))
    nodes = _SELECTOR.find(_ELEMENTS, tree.root) if tree.root else []
    tags = [node.tag or "" for node in nodes]
    anchors = [n for n, tag in zip(nodes, tags, strict=True) if tag in {"a", "area"}]
    found = _links(anchors[:links])
    passwords = sum(_kind(node) == "password" for node in nodes if node.tag == "input")
    if not apart or "style" in tags or "script" in tags:  # three searches more
        tree.strip_tags(_UNSEEN)
    between = " " if apart else ""
    text = tree.body.text(separator=between, skip_empty=apart) if tree.body else ""
    return Page(text, found, tags, passwords)


def to_text(html: str) -> str:
    """The text alone, blocks on lines of their own: a plain part for an HTML-only message."""
    text = read(_BLOCK_END.sub("\n<", html), apart=False).text
    lines = [" ".join(line.split()) for line in text.split("\n")]
    return "\n".join([line for line in lines if line])


def _shallow(markup: bytes) -> bytes:
    """The page, or where it leaves thousands of elements open, the beginning of it: the time to
    parse grows with the square of the depth."""
    if len(markup) <= _DEEP_BYTES:
        return markup
    left_open = markup.count(b"<") - 2 * markup.count(b"</")
    return markup if left_open < _LEFT_OPEN_MAX else markup[:_DEEP_BYTES]


def _links(anchors: Sequence[LexborNode]) -> list[Link]:
    """Those that lead out of the page."""
    targets = [(node.attrs.get("href") or "").strip() for node in anchors]
    return [
        Link(href, node.text_lexbor())
        for href, node in zip(targets, anchors, strict=True)
        if href and href[0] != "#"
    ]


def _kind(field: LexborNode) -> str:
    return (field.attrs.get("type") or "").lower()
