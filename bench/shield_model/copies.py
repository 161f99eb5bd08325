"""Copies of a message as other clients would have sent it."""

import re
from random import Random

from bench.shield_model.names import new_domain, new_person, tracker_link
from bench.shield_model.shells import shell
from contracts.ingest.v1.content_pb2 import Content
from mail.address import domain_of
from mail.html import to_text

URL = re.compile(r"https?://[^\s\"'<>)\]]+")


def copy_of(content: Content) -> Content:
    copy = Content()
    copy.CopyFrom(content)
    return copy


def in_shell(content: Content, random: Random) -> Content:
    """The text of a message inside modern HTML."""
    copy = copy_of(content)
    text = content.text or to_text(content.html, targets=True)
    domain = domain_of(getattr(content, "from")) or new_domain(random)
    copy.html = shell(paragraphs(text[:20_000]), domain, random)
    copy.text = text if random.random() < 0.5 else ""
    del copy.headers[:]
    return copy


def paragraphs(text: str) -> list[str]:
    return [" ".join(each.split()) for each in re.split(r"\n\s*\n", text) if each.strip()]


def moved(content: Content, random: Random) -> Content:
    """From another domain than its links."""
    copy = copy_of(content)
    name = getattr(content, "from").partition("<")[0].strip() or new_person(random)
    local = random.choice(["hello", "info", "news", "no-reply", "team", "support", "contact"])
    setattr(copy, "from", f"{name} <{local}@{new_domain(random)}>")
    return copy


def relinked(content: Content, random: Random) -> Content:
    """With links of a mail provider's tracker, or on the domain of its sender."""
    copy = copy_of(content)
    domain = domain_of(getattr(content, "from")) or new_domain(random)
    tracked = random.random() < 0.7

    def other(found: re.Match[str]) -> str:
        if re.search(r"\.(?:png|jpe?g|gif|css|dtd)|w3\.org|schema", found[0]):
            return found[0]
        if tracked:
            return tracker_link(random, domain)
        return f"https://www.{domain}/" + found[0].partition("://")[2].partition("/")[2]

    copy.html, copy.text = URL.sub(other, content.html), URL.sub(other, content.text)
    return copy


def page_only(content: Content) -> Content:
    copy = copy_of(content)
    if content.html:
        copy.text = ""
    return copy


def without_fields(content: Content) -> Content:
    """As an API client sends it: without the fields of mail programs and list servers."""
    copy = copy_of(content)
    del copy.headers[:]
    del copy.reply_to[:]
    return copy
