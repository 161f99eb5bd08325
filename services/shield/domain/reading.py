"""Content, read once: the lines that text rules look at, and the counts that measures need.

Work is bounded whatever the size of the message: `Limits` says how much is read.
"""

import unicodedata
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser, LexborNode

from contracts.ingest.v1.content_pb2 import Attachment, Content
from services.shield.domain.links import URL, Link, link, mail_domain

# Soft hyphen, zero-width space and its kin, BOM: they cut words that a reader sees whole.
INVISIBLE = "\xad\u200b\u200c\u200d\u2060\ufeff\u034f\u180e"
LEFT_OPEN_MAX = 5000
DEEP_CHARS = 20_000
FIELD_CHARS = 998  # RFC 5322 §2.1.1
ELEMENTS = "a,area,img,form,input,iframe,body script,body style"
UNSEEN = ("script", "style", "title")


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
    links: tuple[Link, ...] = ()
    images: int = 0
    forms: int = 0
    passwords: int = 0
    frames: int = 0
    scripts: int = 0
    maps: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """One message as the rules see it."""

    content: Content
    sender: str  # the From field
    sender_domain: str
    subject: str
    text: str  # the text part in one line
    html: str  # the HTML part, as much of it as is read
    page: Page
    words: str  # the longer of the two bodies, in one line
    links: tuple[Link, ...]  # of both parts, the first of each address
    attachments: tuple[Attachment, ...]
    document: str  # all of it in lower case, a line per field: what text rules search


def read(content: Content, limits: Limits) -> Reading:
    sender = getattr(content, "from")[:FIELD_CHARS]
    source = content.text[: limits.text_chars]
    html = content.html[: limits.html_chars]  # a copy each time it is asked for
    page = parse(html, limits)
    attachments = tuple(content.attachments[: limits.attachments])
    links = unique([*page.links, *(link(url) for url in URL.findall(source)[: limits.links])])
    text, subject = plain(source), plain(content.subject[:FIELD_CHARS])
    lines = [
        f"from: {plain(sender)}",
        *(f"reply-to: {plain(mailbox[:FIELD_CHARS])}" for mailbox in content.reply_to[:5]),
        f"subject: {subject}",
        *(
            f"header: {plain(each.name[:FIELD_CHARS])}: {plain(each.value[:FIELD_CHARS])}"
            for each in content.headers[:50]
        ),
        *(
            f"attachment: {plain(a.content_type[:FIELD_CHARS])} {plain(a.filename[:FIELD_CHARS])}"
            for a in attachments
        ),
        *(f"link: {each.url[:300]}" for each in links[:100]),
        f"body: {text}",
        f"body: {page.text}" if page.text != text else "",
    ]
    return Reading(
        content=content,
        sender=sender,
        sender_domain=mail_domain(sender),
        subject=subject,
        text=text,
        html=html,
        page=page,
        words=max(text, page.text, key=len),
        links=links,
        attachments=attachments,
        document="\n".join(lines).lower(),
    )


def parse(html: str, limits: Limits) -> Page:
    if not html:
        return Page()
    tree = LexborHTMLParser(shallow(html))
    nodes = tree.css(ELEMENTS)
    links = [anchor(node) for node in nodes if node.tag in {"a", "area"}][: limits.links]
    tags = [node.tag for node in nodes]
    passwords = sum(1 for node in nodes if node.tag == "input" and kind(node) == "password")
    if "style" in tags or "script" in tags:
        tree.strip_tags(list(UNSEEN))
    body = tree.body
    return Page(
        text=plain(body.text(separator=" ")) if body else "",
        links=tuple(each for each in links if each.host),
        images=tags.count("img"),
        forms=tags.count("form"),
        passwords=passwords,
        frames=tags.count("iframe"),
        scripts=tags.count("script"),
        maps=tags.count("area"),
    )


def shallow(html: str) -> str:
    """The page, or where it leaves thousands of elements open, the beginning of it: the time to
    parse grows with the square of the depth."""
    if len(html) <= DEEP_CHARS:
        return html
    left_open = html.count("<") - 2 * html.count("</")
    return html if left_open < LEFT_OPEN_MAX else html[:DEEP_CHARS]


def anchor(node: LexborNode) -> Link:
    return link(node.attributes.get("href") or "", node.text(separator="") or "")


def kind(node: LexborNode) -> str:
    return (node.attributes.get("type") or "").lower()


def plain(text: str) -> str:
    """One line, single spaces, wide and mathematical letters folded, nothing invisible."""
    text = " ".join(text.split())
    if not text.isascii():
        for each in INVISIBLE:  # eight searches cost a tenth of one translate
            text = text.replace(each, "")
        text = unicodedata.normalize("NFKC", text)
    return text


def unique(links: list[Link]) -> tuple[Link, ...]:
    return tuple({(each.url, each.shown): each for each in links}.values())
