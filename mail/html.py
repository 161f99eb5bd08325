"""What a reader sees of an HTML body: its text, links and fields. HTML as in RFC 2854's successors.

One parse (lexbor) gives all, in a time that is bounded; scripts, styles and titles are not text.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from selectolax.lexbor import LexborCSSSelector, LexborHTMLParser, LexborNode

MAX_LINKS = 1000
_ELEMENTS = "a,area,img,form,input,iframe,body script,body style"
_UNSEEN = ["script", "style", "title"]
_LEFT_OPEN_MAX = 5000
_DEEP_BYTES = 20_000
_NODES_MAX = 400_000  # of a tree, some 150 octets each
_TAG = re.compile(rb"</?[A-Za-z][^\t\n\f\r />]*")
_FORMATS = frozenset(b"a b big code em font i nobr s small strike strong tt u".split())
_OPENING = [b"<%b " % name for name in sorted(_FORMATS)]
# Lower case, and one blank for whatever may stand behind a tag's name.
_FLAT = bytes.maketrans(bytes(range(65, 91)) + b"\t\n\f\r/>", bytes(range(97, 123)) + b"      ")
_MARKERS = frozenset(b"applet button caption marquee object select table td template th".split())
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
    tree = LexborHTMLParser(_bounded(markup))
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


def _bounded(markup: bytes) -> bytes:
    """The page, or the beginning of it that makes a tree of bounded size and depth."""
    tags = markup.count(b"<")
    if tags >= _LEFT_OPEN_MAX and len(markup) > _DEEP_BYTES and _left_open(markup) > _LEFT_OPEN_MAX:
        return markup[:_DEEP_BYTES]  # the time to parse grows with the square of the depth
    if tags * (tags - markup.count(b"</")) <= _NODES_MAX:
        return markup
    flat = markup.translate(_FLAT)
    if tags * sum(map(flat.count, _OPENING)) <= _NODES_MAX:
        return markup
    return markup[: _affordable(markup)]


def _left_open(markup: bytes) -> int:
    """How many elements no end tag of their own name closes."""
    names = Counter(name.lower() for name in _TAG.findall(markup))
    return sum(
        max(0, count - names[b"</" + name[1:]])
        for name, count in names.items()
        if not name.startswith(b"</")
    )


def _affordable(markup: bytes) -> int:
    """Where the tree would get too large: formatting elements that were left open are opened again
    in every paragraph that follows (HTML §13.2.4.3), so n of them and m paragraphs make n·m nodes.

    An end tag takes back one of its name, but none from before the last cell, button or object,
    where it means nothing. So at least as many are counted as a parser would keep.
    """
    since: Counter[bytes] = Counter()
    before = nodes = 0
    for match in _TAG.finditer(markup):
        name = match[0].lower()
        if name[1:] in _MARKERS:
            before += since.total()
            since.clear()
        elif name[1:] in _FORMATS:
            since[name[1:]] += 1
        elif name[2:] in _FORMATS and since[name[2:]]:
            since[name[2:]] -= 1
        nodes += 1 + before + since.total()
        if nodes > _NODES_MAX:
            return match.start()
    return len(markup)


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
