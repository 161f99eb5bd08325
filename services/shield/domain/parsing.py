"""Parse a content: the lines that text rules search, and the parts that measures count.

`ParsingLimits` bounds the work for messages of any size.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from contracts.ingest.v1.content_pb2 import Attachment, Content
from mail import html as mail_html
from mail.address import domain_of
from mail.normalized_text import normalize, normalize_and_lower
from mail.url import find_urls
from services.shield.domain.links import MessageLink, UrlHost, create_link

FIELD_CHARS = 998  # RFC 5322 §2.1.1


@dataclass(frozen=True, slots=True)
class ParsingLimits:
    html_chars: int = 100_000
    text_chars: int = 100_000
    links: int = 500
    attachments: int = 100


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """A message as the rules see it."""

    content: Content
    sender: str  # the From field
    sender_domain: str
    subject: str
    source: str  # the text part, up to the limit
    text: str  # the text part in one line
    html: str  # the HTML part, up to the limit
    markup: bytes  # the HTML part in UTF-8
    page: mail_html.HtmlContent
    page_text: str  # the visible text of the HTML part, in one line
    longer_text: str  # the longer of the two bodies, in one line
    links: Sequence[MessageLink]  # of both parts, the first for each URL
    targets: Mapping[
        UrlHost, Sequence[MessageLink]
    ]  # links by target, in order of first occurrence
    attachments: Sequence[Attachment]
    document: bytes  # all fields in lower case, one line per field: the text that rules search


def parse_message(content: Content, limits: ParsingLimits) -> ParsedMessage:
    sender = getattr(content, "from")[:FIELD_CHARS]
    source = content.text[: limits.text_chars]  # copied once, because each access makes a copy
    html = content.html[: limits.html_chars]
    markup = html.encode()
    page = mail_html.read_html(markup, links=limits.links) if html else mail_html.HtmlContent()
    attachments = content.attachments[: limits.attachments]
    links = unique_links(page.links, find_urls(source)[: limits.links])
    text, lower_text = normalize_and_lower(source)
    page_text, lower_page = normalize_and_lower(page.text) if html else ("", b"")
    lines = [
        "\n".join(field_lines(content, attachments, links)).lower().encode(),
        b"body: " + lower_text,
        b"body: " + lower_page if page_text != text else b"",
    ]
    return ParsedMessage(
        content=content,
        sender=sender,
        sender_domain=domain_of(sender),
        subject=clean_field(content.subject),
        source=source,
        text=text,
        html=html,
        markup=markup,
        page=page,
        page_text=page_text,
        longer_text=max(text, page_text, key=len),
        links=links,
        targets=links_by_target(links),
        attachments=attachments,
        document=b"\n".join(lines),
    )


def field_lines(
    content: Content, attachments: Sequence[Attachment], links: Sequence[MessageLink]
) -> list[str]:
    """A line for each field except the bodies."""
    return [
        f"from: {clean_field(getattr(content, 'from'))}",
        *[f"reply-to: {clean_field(mailbox)}" for mailbox in content.reply_to[:5]],
        f"subject: {clean_field(content.subject)}",
        *[
            f"header: {clean_field(each.name)}: {clean_field(each.value)}"
            for each in content.headers[:50]
        ],
        *[
            f"attachment: {clean_field(each.content_type)} {clean_field(each.filename)}"
            for each in attachments
        ],
        *[f"link: {each.url[:300]}" for each in links[:100]],
    ]


def clean_field(text: str) -> str:
    return normalize(text[:FIELD_CHARS])


def unique_links(page_links: Iterable[mail_html.Link], urls: Iterable[str]) -> list[MessageLink]:
    """The links of the page that have a host, then the URLs of the text."""
    found: dict[tuple[str, str], MessageLink] = {}
    known = set()  # most URLs of the text are those of the page
    for href, text in dict.fromkeys(page_links):
        link = create_link(href, text)
        if link.target.host:
            found[link[:2]] = link
            if not link.text_host:
                known.add(href)
    more = [create_link(each) for each in dict.fromkeys(urls) if each not in known]
    return list((found | {each[:2]: each for each in more}).values())


def links_by_target(links: Iterable[MessageLink]) -> dict[UrlHost, list[MessageLink]]:
    targets: dict[UrlHost, list[MessageLink]] = {}
    for each in links:
        targets.setdefault(each.target, []).append(each)
    return targets
