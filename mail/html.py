"""Text, links and form fields of an HTML body. HTML as in RFC 2854's successors.

One parse (lexbor) in bounded time; scripts, styles and titles are not text.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from typing import NamedTuple

from selectolax.lexbor import LexborCSSSelector, LexborHTMLParser, LexborNode

from mail.patterns import repeated

MAX_LINKS = 1000
_ELEMENTS = "a,area,img,form,input,iframe,body script,body style"
_INVISIBLE = ["script", "style", "title"]
_LEFT_OPEN_MAX = 5000
_DEEP_BYTES = 20_000
_NODES_MAX = 400_000  # of a tree, about 150 octets each
_TAG_NAME = re.compile(rb"</?[A-Za-z][^\t\n\f\r />]*")
# Formatting elements except links, which close each other.
_FORMATS = b"big code em font i nobr small strike strong b s tt u".split()
_FORMAT = re.compile(rb"<(/?)(?i:%b)(?=[\t\n\f\r />])" % b"|".join(_FORMATS))
# The set of first letters is tried before the names.
_OPENING = re.compile(rb"<(?i:(?=[bcefinstu])(?:%b))(?=[\t\n\f\r />])" % b"|".join(_FORMATS))
# Unclosed constructs extend to the end, as in browsers.
_IGNORED = re.compile(
    r"<!--(?:-?>|.*?--!?>|.*)"
    r"|<(script|style|title)(?=[ />])(?:.*?</\1(?=[ />])[^>]*>?|.*)"
    r"|<[!?][^>]*>?",
    re.IGNORECASE,
)
# A tag to its end: quoted values can contain >. No backtracking.
_ATTRIBUTES = repeated(r"""[^>"']++|(?:(?<==)|(?<== ))(?:"[^"]*+"|'[^']*+')|["']""")
_TAG = re.compile(rf"<(/?[a-zA-Z][^ />]*+){_ATTRIBUTES}>?")
_LINK = re.compile(rf"<(/?)[aA](?=[ />])({_ATTRIBUTES})>?")
_BLOCKS = frozenset(
    (
        "address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd", "div",
        "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4",
        "h5", "h6", "head", "header", "hr", "li", "main", "nav", "ol", "option", "p", "pre",
        "section", "table", "tbody", "tfoot", "thead", "tr", "ul",
    )
)  # fmt: skip
_RENDERED = dict.fromkeys([*_BLOCKS, *[f"/{name}" for name in _BLOCKS]], "\n")
_RENDERED |= dict.fromkeys(("td", "th", "/td", "/th"), " ")
_HREF = re.compile(r"""(?:^|[ /"'])href ?= ?(?:"([^"]*)"|'([^']*)'|([^ "'>]+))""", re.IGNORECASE)
_EXTERNAL = re.compile("(?:https?|mailto|tel):", re.IGNORECASE)
_REPEATED_TARGET = re.compile(r"(?<!\S)(\S++) <(?:mailto:|tel:)?\1>")
# Shared by all pages: creating one takes longer than using it, and it has no state.
_SELECTOR: LexborCSSSelector = LexborCSSSelector()  # type: ignore[no-untyped-call]


class Link(NamedTuple):
    """A link: its target and text, as written."""

    href: str
    text: str


@dataclass(frozen=True, slots=True)
class HtmlContent:
    """The content of an HTML body."""

    text: str = ""
    links: Sequence[Link] = ()
    tags: Sequence[str] = ()  # of each link, image, form, input, frame, script and style, in order
    password_fields: int = 0  # number of password fields


def read_html(html: str | bytes, *, links: int = MAX_LINKS) -> HtmlContent:
    """Text, links and elements of a body; bytes are UTF-8. links: maximum number of links.

    The text is for searching: a space separates any two text nodes, even within a word, and a title
    outside of the head can be included.
    """
    markup = html if isinstance(html, bytes) else html.encode("utf-8", "ignore")
    tree = LexborHTMLParser(_bounded(markup))
    nodes = _SELECTOR.find(_ELEMENTS, tree.root) if tree.root else []
    tags = [node.tag or "" for node in nodes]
    anchors = [n for n, tag in zip(nodes, tags, strict=True) if tag in {"a", "area"}]
    found = _links(anchors[:links])
    password_fields = sum(_kind(node) == "password" for node in nodes if node.tag == "input")
    if "style" in tags or "script" in tags:  # it costs three more searches
        tree.strip_tags(_INVISIBLE)
    text = tree.body.text(separator=" ", skip_empty=True) if tree.body else ""
    return HtmlContent(text, found, tags, password_fields)


def to_text(html: str, *, targets: bool = False) -> str:
    """The text, one line per block, as the plain part of an HTML-only message.

    targets: add each link's target after its text, in angle brackets (RFC 3986, appendix C).

    Builds no tree, which hostile pages can make slow: the markup is removed in linear time.
    """
    html = _IGNORED.sub("", " ".join(html.split()))
    if targets:
        html = _with_targets(html)
    pieces = _TAG.split(html)
    pieces[1::2] = [_RENDERED.get(name.lower(), "") for name in pieces[1::2]]
    lines = [" ".join(line.split()) for line in unescape("".join(pieces)).split("\n")]
    text = "\n".join([line for line in lines if line])
    return _REPEATED_TARGET.sub(r"\1", text) if targets else text


def _with_targets(html: str) -> str:
    """Insert the target of each link before the tag that ends it."""
    target = ""

    def insert_target(mark: re.Match[str]) -> str:
        nonlocal target
        left, target = target, "" if mark[1] else _target(mark[2])
        return f" &lt;{left}&gt;{mark[0]}" if left else mark[0]

    return _LINK.sub(insert_target, html)


def _target(given: str) -> str:
    """The external target of a link with these attributes; empty if it has none."""
    found = _HREF.search(given)
    href = "".join(found.groups("")).strip() if found else ""
    return href if _EXTERNAL.match(href) else ""


def _bounded(markup: bytes) -> bytes:
    """The page, changed if needed so that its tree has bounded size and depth.

    An unclosed formatting element is reopened in every following paragraph (HTML §13.2.4.3), so n
    of them and m paragraphs make n·m nodes. Only a parser knows which end tags count (not those in
    comments, attributes or other cells). So if there are many, they are replaced by elements that
    are not reopened; at most one link is open at a time (§13.2.6.4.7).
    """
    tags = markup.count(b"<")
    if tags >= _LEFT_OPEN_MAX and len(markup) > _DEEP_BYTES and _left_open(markup) > _LEFT_OPEN_MAX:
        return markup[:_DEEP_BYTES]  # parse time is quadratic in the depth
    if tags * (tags - markup.count(b"</")) <= _NODES_MAX:
        return markup
    if tags * len(_OPENING.findall(markup)) <= _NODES_MAX:
        return markup
    return _FORMAT.sub(rb"<\1span", markup)


def _left_open(markup: bytes) -> int:
    """Number of elements without an end tag of their name."""
    names = Counter(name.lower() for name in _TAG_NAME.findall(markup))
    return sum(
        max(0, count - names[b"</" + name[1:]])
        for name, count in names.items()
        if not name.startswith(b"</")
    )


def _links(anchors: Sequence[LexborNode]) -> list[Link]:
    """The links that lead to another page."""
    targets = [(node.attrs.get("href") or "").strip() for node in anchors]
    return [
        Link(href, node.text_lexbor())
        for href, node in zip(targets, anchors, strict=True)
        if href and href[0] != "#"
    ]


def _kind(field: LexborNode) -> str:
    return (field.attrs.get("type") or "").lower()
