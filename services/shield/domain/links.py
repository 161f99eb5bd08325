"""Hosts of links, and whose they are."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

# co.uk, com.br, …: where a country sells names one label deeper. No public suffix list: these rules
# compare hosts of one message, and a miss costs one weak sign.
SECOND_LEVEL = frozenset({"co", "com", "org", "net", "gov", "ac", "edu", "ne", "or", "go"})
# The literal : comes first, and what must stand before it after: searching stays a memchr.
URL = re.compile(r":(?:(?<=https:)|(?<=http:))//[^\s<>\"')\]]+", re.IGNORECASE)
SHOWN_HOST = re.compile(r"^(?:https?://)?((?:[a-z0-9-]+\.)+[a-z]{2,24})(?:[:/?#].*)?$")
# Browsers take a backslash for a slash, and any number of either. The last @ ends the userinfo.
AUTHORITY = re.compile(r"(?:https?:)?[/\\]{2,}(?:([^/\\?#]*)@)?(\[[^\]]*\]|[^/\\?#:]*)(?::(\d*))?")
ORIGIN = re.compile(r"https?://[^/\\?#\[]+")  # one that needs no second look
URL_CHARS = 2000
HOST_CHARS = 253  # RFC 1035 §2.3.4, in text
IP_HOST = re.compile(
    r"^(?:\d{1,3}(?:\.\d{1,3}){3}|\d{8,10}|0x[0-9a-f]{2,8}(?:\.0x[0-9a-f]+)*|\[.*\])$"
)
LABEL_END = re.compile(r"[.-]")


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where an address leads: what its scheme and authority tell, in lower case."""

    host: str  # empty: not a web address
    domain: str  # what was registered: the last two or three labels of host
    tld: str
    userinfo: bool  # reads like a host: http://bank.example@elsewhere.example/
    ip: bool  # an address, no name
    numbered: bool  # three digits in a name (and not in an address): shop4829.example


class Link(NamedTuple):
    """One place that the reader is sent to; all in lower case."""

    url: str
    shown: str  # the host that the visible text names, if it names one
    place: Place


def link(url: str, text: str = "") -> Link:
    """`text` is what the reader sees in place of the address."""
    url = url.strip()[:URL_CHARS].lower()
    end = url.find("/", 8)  # behind the host, when the address is of the usual kind
    place = (known_place(url[:end]) if end > 0 else None) or place_of(url)
    return Link(url, shown_host(text) if "." in text and len(text) < 200 else "", place)


def shown_host(text: str) -> str:
    named = SHOWN_HOST.match(text.strip().lower())
    return named[1] if named else ""


def urls(text: str) -> list[str]:
    """The http addresses in a text, in their order."""
    found = URL.finditer(text) if "://" in text else ()
    return [text[scheme(text, each.start()) : each.end()] for each in found]


def scheme(text: str, colon: int) -> int:
    """Where the http or https before this colon begins."""
    return colon - (4 if text[colon - 1] in "pP" else 5)


def place_of(url: str) -> Place:
    userinfo, host, _ = authority(url)
    domain = registered(host)
    return Place(
        host=host,
        domain=domain,
        tld=host.rpartition(".")[2],
        userinfo="." in userinfo,
        ip=bool(IP_HOST.match(host)),
        numbered=sum(map(str.isdigit, domain)) >= 3 and domain[-1].isalpha(),
    )


@lru_cache(maxsize=8192)
def known_place(origin: str) -> Place | None:
    """Of the beginning of an address; None when that alone does not say where it leads. Kept: mail
    leads to the same hosts again and again, a tenant's own and those of its trackers."""
    return place_of(origin) if ORIGIN.fullmatch(origin) else None


def authority(url: str) -> tuple[str, str, str]:
    """userinfo, host and port of an http address (RFC 3986 §3.2), as browsers read it."""
    if not (found := AUTHORITY.match(url)):
        return "", "", ""
    userinfo, host, port = found.groups("")
    return userinfo, host[:HOST_CHARS].strip("."), port


@lru_cache(maxsize=8192)
def registered(host: str) -> str:
    """`mail.shop.example.co.uk` → `example.co.uk`; an address stays whole."""
    if IP_HOST.match(host):
        return host
    labels = host.split(".")
    deep = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in SECOND_LEVEL
    return ".".join(labels[-3:] if deep else labels[-2:])


@lru_cache(maxsize=8192)
def pieces(host: str) -> frozenset[str]:
    """What stands between its dots and hyphens."""
    return frozenset(LABEL_END.split(host))


@lru_cache(maxsize=8192)
def belongs(host: str, domains: frozenset[str]) -> bool:
    """Whether the host is one of these domains, or within one."""
    while host:
        if host in domains:
            return True
        host = host.partition(".")[2]
    return False


def mail_domain(mailbox: str) -> str:
    """The host behind the last `@` of a mailbox, display name or not; lower case."""
    return mailbox.rpartition("@")[2].strip(" <>\"'\t").lower()
