"""What a reader sees of an HTML body: its text, links and images. HTML as in RFC 2854's successors.

One parse (lexbor) gives all; scripts, styles and hidden heads are not text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser

MAX_LINKS = 1000
_SKIPPED = ("script", "style", "head", "template", "noscript", "title")
# A block's text stands on lines of its own: a line break goes before what ends a block.
_BLOCK_END = re.compile(
    r"<(?=[bhBH][rR]\b|/(?:[pPhH]|[dD][dilDILT]|[tT][abdhrABDHR]|[lL][iI]|[uUoO][lL]))"
)


@dataclass(frozen=True, slots=True)
class Link:
    """A link: where it goes, as written, and the words on it."""

    href: str
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """An HTML body as its reader sees it. `html_length` in characters."""

    text: str
    links: tuple[Link, ...]
    images: tuple[str, ...]
    forms: int
    html_length: int

    @property
    def text_ratio(self) -> float:
        """Characters of text per character of HTML, 0 to 1; 0 for an empty body."""
        return min(1.0, len(self.text) / self.html_length) if self.html_length else 0.0


def read(html: str) -> Page:
    """Text, links, images and forms of a body."""
    tree = LexborHTMLParser(_BLOCK_END.sub("\n<", html))
    root = tree.root
    if root is None:
        return Page("", (), (), 0, len(html))
    links = tuple(_links(tree))
    images = tuple(node.attributes.get("src") or "" for node in tree.css("img")[:MAX_LINKS])
    forms = len(tree.css("form"))
    tree.strip_tags(list(_SKIPPED))
    seen = (tree.body or root).text(deep=True)
    lines = [" ".join(line.split()) for line in seen.split("\n")]
    text = "\n".join([line for line in lines if line])
    return Page(text, links, images, forms, len(html))


def to_text(html: str) -> str:
    """The text alone, blocks on lines of their own: a plain part for an HTML-only message."""
    return read(html).text


def _links(tree: LexborHTMLParser) -> Iterator[Link]:
    for node in tree.css("a[href], area[href]")[:MAX_LINKS]:
        href = (node.attributes.get("href") or "").strip()
        if href and not href.startswith("#"):
            yield Link(href, " ".join(node.text(deep=True, separator=" ").split())[:500])
