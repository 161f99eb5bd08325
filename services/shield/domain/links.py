"""Links, their hosts and registered domains."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from mail import mx
from mail.url import is_ip, parse_authority

SHOWN_HOST = re.compile(r"^(?:https?://)?((?:[a-z0-9-]+\.)+[a-z]{2,24})(?:[:/?#].*)?$")
ORIGIN = re.compile(r"https?://[^/\\?#\[]+")  # an origin in the usual form
URL_CHARS = 2000
LABEL_END = re.compile(r"[.-]")


@dataclass(frozen=True, slots=True, eq=False)
class UrlHost:
    """The origin of a URL (scheme and authority), in lower case."""

    host: str  # empty: not a web address
    domain: str  # registered domain: the last two or three labels of host
    tld: str
    userinfo: bool  # looks like a host: http://bank.example@attacker.example/
    ip: bool  # an IP address instead of a name
    numbered: bool  # a name with at least three digits: shop4829.example


class MessageLink(NamedTuple):
    """A link of a message, in lower case."""

    url: str
    text_host: str  # host named by the visible text, empty if there is none
    target: UrlHost


def create_link(url: str, text: str = "") -> MessageLink:
    """text: the visible text of the link."""
    url = url[:URL_CHARS].lower()
    end = url.find("/", 8)  # after the host of a URL in the usual form
    target = (cached_target(url[:end]) if end > 0 else None) or parse_target(url)
    return MessageLink(url, host_in_text(text) if "." in text and len(text) < 200 else "", target)


def host_in_text(text: str) -> str:
    named = SHOWN_HOST.match(text.strip().lower())
    return named[1] if named else ""


def parse_target(url: str) -> UrlHost:
    userinfo, host, _ = parse_authority(url)
    domain = registered_domain(host)
    return UrlHost(
        host=host,
        domain=domain,
        tld=host.rpartition(".")[2],
        userinfo="." in userinfo,
        ip=is_ip(host),
        numbered=sum(map(str.isdigit, domain)) >= 3 and domain[-1].isalpha(),
    )


@lru_cache(maxsize=8192)
def cached_target(origin: str) -> UrlHost | None:
    """The target of a URL up to its path; None if that part does not determine the target. Cached,
    because mail links to few hosts: the tenant's own and those of trackers."""
    return parse_target(origin) if ORIGIN.fullmatch(origin) else None


@lru_cache(maxsize=8192)
def registered_domain(host: str) -> str:
    """`mail.shop.example.co.uk` → `example.co.uk`; IP addresses are unchanged. Without a public
    suffix list: the rules compare hosts of one message, and an error costs one weak sign."""
    return host if is_ip(host) else mx.registered_domain(host)


@lru_cache(maxsize=8192)
def host_parts(host: str) -> frozenset[str]:
    """The parts of a host between dots and hyphens."""
    return frozenset(LABEL_END.split(host))


@lru_cache(maxsize=8192)
def is_within(host: str, domains: frozenset[str]) -> bool:
    """True if the host is one of these domains or a subdomain of one."""
    while host:
        if host in domains:
            return True
        host = host.partition(".")[2]
    return False
