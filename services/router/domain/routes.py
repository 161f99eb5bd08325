"""Routes of domains, and the file of static routes that replaces MX lookups."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from mail.mx import site_of
from services.router.domain.message import RESERVED, SITE_MAX


class MxHost(NamedTuple):
    host: str
    preference: int
    port: int  # 0: 25


@dataclass(frozen=True, slots=True)
class Route:
    """exchangers: best first."""

    site: str
    exchangers: tuple[MxHost, ...]


@dataclass(frozen=True, slots=True)
class NoRoute:
    """The domain takes no mail, for good: why, for machines, as RFC 3463 code, and for people."""

    reason: str
    enhanced: str
    text: str


@dataclass(frozen=True, slots=True)
class LookupFailed:
    """The lookup failed (SERVFAIL, timeout); it may be repeated after retry_s."""

    retry_s: float
    text: str


Answer: TypeAlias = Route | NoRoute | LookupFailed


def site_name(hosts: Sequence[str]) -> str:
    """The site of an MX set; never one of our own names, and short enough for a key."""
    site = site_of(hosts)[:SITE_MAX].replace("/", "_")
    return f"{site}." if site in RESERVED else site


class StaticRoutes:
    """`[[route]] domain = "example.com" | "*.example.com" | "*"`, `exchangers = ["host:port"]`,
    and optionally `site`. The most exact pattern wins, the order in the file does not matter."""

    def __init__(self, text: str = "") -> None:
        """Raises ValueError with the entry that is wrong."""
        self._by_pattern: dict[str, Route] = {}
        for number, entry in enumerate(tomllib.loads(text).get("route", []), 1):
            pattern = str(entry.get("domain", "")).lower()
            exchangers = tuple(parse_mx_host(value) for value in entry.get("exchangers", ()))
            if not pattern or not exchangers:
                raise ValueError(f"route {number} needs a domain and exchangers")
            if pattern in self._by_pattern:
                raise ValueError(f"route {number}: {pattern} is there twice")
            site = entry.get("site") or site_name([exchanger.host for exchanger in exchangers])
            if site in RESERVED:
                raise ValueError(f"route {number}: the site {site} is the engine's own")
            self._by_pattern[pattern] = Route(str(site)[:SITE_MAX].replace("/", "_"), exchangers)

    def get(self, domain: str) -> Route | None:
        if not self._by_pattern:
            return None
        if route := self._by_pattern.get(domain):
            return route
        labels = domain.split(".")
        for start in range(1, len(labels)):
            if route := self._by_pattern.get("*." + ".".join(labels[start:])):
                return route
        return self._by_pattern.get("*")


def parse_mx_host(text: str) -> MxHost:
    """`host`, `host:port` or `[v6]:port`."""
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "0")
    if not host or not port.isdigit():
        raise ValueError(f"{text!r} is not host:port")
    return MxHost(host.strip("[]"), 0, int(port))
