"""Content, read once: the lines that text rules look at, and the counts that measures need.

Work is bounded whatever the size of the message: `Limits` says how much is read.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from selectolax.lexbor import LexborCSSSelector, LexborHTMLParser, LexborNode

from contracts.ingest.v1.content_pb2 import Attachment, Content
from services.shield.domain.links import Link, Place, link, mail_domain, urls

# Soft hyphen, zero-width space and its kin, BOM: they cut words that a reader sees whole.
INVISIBLE = "\xad\u200b\u200c\u200d\u2060\ufeff\u034f\u180e"
# White space to Python's text and not to its bytes.
SPACES = "\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
ODD = re.compile(f"[{INVISIBLE}{SPACES}]")
COMMON = bytes(each for each in range(128) if chr(each) not in SPACES)
LEFT_OPEN_MAX = 5000
DEEP_CHARS = 20_000
FIELD_CHARS = 998  # RFC 5322 §2.1.1
ELEMENTS = "a,area,img,form,input,iframe,body script,body style"
UNSEEN = ["script", "style", "title"]
# One for all pages: to make one takes longer than to use it. It holds nothing between two finds.
SELECTOR: LexborCSSSelector = LexborCSSSelector()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Limits:
    html_chars: int = 100_000
    text_chars: int = 100_000
    links: int = 500
    attachments: int = 100


@dataclass(frozen=True, slots=True)
class Page:
    """The HTML part, parsed. `text` is what is written in it, in one line."""

    text: str = ""
    lower_text: bytes = b""  # the same in lower case, in UTF-8
    links: Sequence[Link] = ()
    tags: Sequence[str] = ()  # of each of its ELEMENTS
    passwords: int = 0  # fields that ask for one


@dataclass(frozen=True, slots=True)
class Reading:
    """One message as the rules see it."""

    content: Content
    sender: str  # the From field
    sender_domain: str
    subject: str
    source: str  # the text part, as much of it as is read
    text: str  # and in one line
    html: str  # the HTML part, as much of it as is read
    markup: bytes  # and in UTF-8
    page: Page
    words: str  # the longer of the two bodies, in one line
    links: Sequence[Link]  # of both parts, the first of each address
    places: Mapping[Place, Sequence[Link]]  # the same by where they lead, in the order of the first
    attachments: Sequence[Attachment]
    document: bytes  # all of it in lower case, a line per field: what text rules search


def read(content: Content, limits: Limits) -> Reading:
    sender = getattr(content, "from")[:FIELD_CHARS]
    source = content.text[: limits.text_chars]  # a copy each time it is asked for
    html = content.html[: limits.html_chars]
    markup = html.encode()
    page = parse(html, markup, limits) if html else Page()
    attachments = content.attachments[: limits.attachments]
    links = unique([*page.links, *map(link, urls(source)[: limits.links])])
    text, lower_text = line(source)
    lines = [
        lower("\n".join(fields(content, attachments, links))),
        b"body: " + lower_text,
        b"body: " + page.lower_text if page.text != text else b"",
    ]
    return Reading(
        content=content,
        sender=sender,
        sender_domain=mail_domain(sender),
        subject=short(content.subject),
        source=source,
        text=text,
        html=html,
        markup=markup,
        page=page,
        words=max(text, page.text, key=len),
        links=links,
        places=by_place(links),
        attachments=attachments,
        document=b"\n".join(lines),
    )


def fields(content: Content, attachments: Sequence[Attachment], links: Sequence[Link]) -> list[str]:
    """A line for each but the bodies."""
    return [
        f"from: {short(getattr(content, 'from'))}",
        *[f"reply-to: {short(mailbox)}" for mailbox in content.reply_to[:5]],
        f"subject: {short(content.subject)}",
        *[f"header: {short(each.name)}: {short(each.value)}" for each in content.headers[:50]],
        *[f"attachment: {short(each.content_type)} {short(each.filename)}" for each in attachments],
        *[f"link: {each.url[:300]}" for each in links[:100]],
    ]


def short(text: str) -> str:
    return plain(text[:FIELD_CHARS])


def parse(html: str, markup: bytes, limits: Limits) -> Page:
    tree = LexborHTMLParser(shallow(html, markup))
    nodes = SELECTOR.find(ELEMENTS, tree.root) if tree.root else []
    tags = [node.tag or "" for node in nodes]
    anchors = [n for n, tag in zip(nodes, tags, strict=True) if tag in {"a", "area"}]
    links = [
        link(node.attrs.get("href") or "", node.text_lexbor()) for node in anchors[: limits.links]
    ]
    passwords = sum(kind(node) == "password" for node in nodes if node.tag == "input")
    if "style" in tags or "script" in tags:
        tree.strip_tags(UNSEEN)
    text, lower_text = line(tree.body.text(separator=" ", skip_empty=True) if tree.body else "")
    return Page(
        text=text,
        lower_text=lower_text,
        links=[each for each in links if each.place.host],
        tags=tags,
        passwords=passwords,
    )


def shallow(html: str, markup: bytes) -> str | bytes:
    """The page, or where it leaves thousands of elements open, the beginning of it: the time to
    parse grows with the square of the depth."""
    if len(html) <= DEEP_CHARS:
        return markup
    left_open = html.count("<") - 2 * html.count("</")
    return markup if left_open < LEFT_OPEN_MAX else html[:DEEP_CHARS]


def kind(node: LexborNode) -> str:
    return (node.attrs.get("type") or "").lower()


def plain(text: str) -> str:
    """One line, single spaces, wide and mathematical letters folded, nothing invisible."""
    text = " ".join(text.split())
    if not text.isascii():
        for each in INVISIBLE:  # eight searches cost a tenth of one translate
            text = text.replace(each, "")
        text = unicodedata.normalize("NFKC", text)
    return text


def lower(text: str) -> bytes:
    return text.lower().encode()


def line(text: str) -> tuple[str, bytes]:
    """A long text, plain, and the same in lower case. By way of bytes, which are quicker to cut and
    to change, where there is nothing odd and no capital among the letters beyond ASCII."""
    encoded = text.encode()
    letters = encoded.translate(None, COMMON).decode()
    if ODD.search(letters) or letters != letters.lower():
        text = plain(text)
        return text, lower(text)
    encoded = b" ".join(encoded.split())
    cut = encoded.decode()
    text = unicodedata.normalize("NFKC", cut)
    return text, encoded.lower() if text == cut else lower(text)


def unique(links: Iterable[Link]) -> list[Link]:
    return list({each[:2]: each for each in links}.values())


def by_place(links: Iterable[Link]) -> dict[Place, list[Link]]:
    places: dict[Place, list[Link]] = {}
    for each in links:
        places.setdefault(each.place, []).append(each)
    return places
