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
class LinkTarget:
    """The target of a URL: its scheme and authority, in lower case."""

    host: str  # empty: not a web address
    domain: str  # what was registered: the last two or three labels of host
    tld: str
    userinfo: bool  # reads like a host: http://bank.example@elsewhere.example/
    ip: bool  # an address, no name
    numbered: bool  # three digits in a name (and not in an address): shop4829.example


class Link(NamedTuple):
    """A link of a message; all in lower case."""

    url: str
    shown: str  # the host that the visible text names, if it names one
    target: LinkTarget


def link(url: str, text: str = "") -> Link:
    """`text` is what the reader sees in place of the address."""
    url = url[:URL_CHARS].lower()
    end = url.find("/", 8)  # behind the host, when the address is of the usual kind
    target = (cached_target(url[:end]) if end > 0 else None) or parse_target(url)
    return Link(url, shown_host(text) if "." in text and len(text) < 200 else "", target)


def shown_host(text: str) -> str:
    named = SHOWN_HOST.match(text.strip().lower())
    return named[1] if named else ""


def parse_target(url: str) -> LinkTarget:
    userinfo, host, _ = authority(url)
    domain = registered_domain(host)
    return LinkTarget(
        host=host,
        domain=domain,
        tld=host.rpartition(".")[2],
        userinfo="." in userinfo,
        ip=is_ip(host),
        numbered=sum(map(str.isdigit, domain)) >= 3 and domain[-1].isalpha(),
    )


@lru_cache(maxsize=8192)
def cached_target(origin: str) -> LinkTarget | None:
    """Of the beginning of an address; None when that alone does not say where it leads. Kept: mail
    leads to the same hosts again and again, a tenant's own and those of its trackers."""
    return parse_target(origin) if ORIGIN.fullmatch(origin) else None


@lru_cache(maxsize=8192)
def registered_domain(host: str) -> str:
    """`mail.shop.example.co.uk` → `example.co.uk`; an address stays whole. No public suffix list:
    these rules compare hosts of one message, and a miss costs one weak sign."""
    return host if is_ip(host) else mx.registered(host)


@lru_cache(maxsize=8192)
def host_parts(host: str) -> frozenset[str]:
    """What stands between its dots and hyphens."""
    return frozenset(LABEL_END.split(host))


@lru_cache(maxsize=8192)
def is_within(host: str, domains: frozenset[str]) -> bool:
    """Whether the host is one of these domains, or within one."""
    while host:
        if host in domains:
            return True
        host = host.partition(".")[2]
    return False
