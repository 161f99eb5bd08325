"""Hosts of links, and whose they are."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from mail import mx
from mail.url import authority, is_ip

SHOWN_HOST = re.compile(r"^(?:https?://)?((?:[a-z0-9-]+\.)+[a-z]{2,24})(?:[:/?#].*)?$")
ORIGIN = re.compile(r"https?://[^/\\?#\[]+")  # one that needs no second look
URL_CHARS = 2000
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
    url = url[:URL_CHARS].lower()
    end = url.find("/", 8)  # behind the host, when the address is of the usual kind
    place = (known_place(url[:end]) if end > 0 else None) or place_of(url)
    return Link(url, shown_host(text) if "." in text and len(text) < 200 else "", place)


def shown_host(text: str) -> str:
    named = SHOWN_HOST.match(text.strip().lower())
    return named[1] if named else ""


def place_of(url: str) -> Place:
    userinfo, host, _ = authority(url)
    domain = registered(host)
    return Place(
        host=host,
        domain=domain,
        tld=host.rpartition(".")[2],
        userinfo="." in userinfo,
        ip=is_ip(host),
        numbered=sum(map(str.isdigit, domain)) >= 3 and domain[-1].isalpha(),
    )


@lru_cache(maxsize=8192)
def known_place(origin: str) -> Place | None:
    """Of the beginning of an address; None when that alone does not say where it leads. Kept: mail
    leads to the same hosts again and again, a tenant's own and those of its trackers."""
    return place_of(origin) if ORIGIN.fullmatch(origin) else None


@lru_cache(maxsize=8192)
def registered(host: str) -> str:
    """`mail.shop.example.co.uk` → `example.co.uk`; an address stays whole. No public suffix list:
    these rules compare hosts of one message, and a miss costs one weak sign."""
    return host if is_ip(host) else mx.registered(host)


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
