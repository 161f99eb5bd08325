"""Content, read once: the lines that text rules look at, and the counts that measures need.

Work is bounded whatever the size of the message: `Limits` says how much is read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from contracts.ingest.v1.content_pb2 import Attachment, Content
from mail import html as mail_html
from mail.address import domain_of
from mail.normalized_text import line, plain
from mail.url import urls
from services.shield.domain.links import Link, LinkTarget, link

FIELD_CHARS = 998  # RFC 5322 §2.1.1


@dataclass(frozen=True, slots=True)
class Limits:
    html_chars: int = 100_000
    text_chars: int = 100_000
    links: int = 500
    attachments: int = 100


@dataclass(frozen=True, slots=True)
class MessageFeatures:
    """One message as the rules see it."""

    content: Content
    sender: str  # the From field
    sender_domain: str
    subject: str
    source: str  # the text part, as much of it as is read
    text: str  # and in one line
    html: str  # the HTML part, as much of it as is read
    markup: bytes  # and in UTF-8
    page: mail_html.Page
    page_text: str  # what is written in it, in one line
    words: str  # the longer of the two bodies, in one line
    links: Sequence[Link]  # of both parts, the first of each address
    targets: Mapping[
        LinkTarget, Sequence[Link]
    ]  # the same by where they lead, in the order of the first
    attachments: Sequence[Attachment]
    document: bytes  # all of it in lower case, a line per field: what text rules search


def extract_features(content: Content, limits: Limits) -> MessageFeatures:
    sender = getattr(content, "from")[:FIELD_CHARS]
    source = content.text[: limits.text_chars]  # a copy each time it is asked for
    html = content.html[: limits.html_chars]
    markup = html.encode()
    page = mail_html.read(markup, links=limits.links) if html else mail_html.Page()
    attachments = content.attachments[: limits.attachments]
    links = unique([*web(page.links), *map(link, urls(source)[: limits.links])])
    text, lower_text = line(source)
    page_text, lower_page = line(page.text) if html else ("", b"")
    lines = [
        "\n".join(fields(content, attachments, links)).lower().encode(),
        b"body: " + lower_text,
        b"body: " + lower_page if page_text != text else b"",
    ]
    return MessageFeatures(
        content=content,
        sender=sender,
        sender_domain=domain_of(sender),
        subject=short(content.subject),
        source=source,
        text=text,
        html=html,
        markup=markup,
        page=page,
        page_text=page_text,
        words=max(text, page_text, key=len),
        links=links,
        targets=by_target(links),
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


def web(links: Iterable[mail_html.Link]) -> list[Link]:
    """Those that lead to a host."""
    found = [link(href, text) for href, text in links]
    return [each for each in found if each.target.host]


def unique(links: Iterable[Link]) -> list[Link]:
    return list({each[:2]: each for each in links}.values())


def by_target(links: Iterable[Link]) -> dict[LinkTarget, list[Link]]:
    targets: dict[LinkTarget, list[Link]] = {}
    for each in links:
        targets.setdefault(each.target, []).append(each)
    return targets
