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
    port: int  # 0 means 25


@dataclass(frozen=True, slots=True)
class Route:
    """mx_hosts: best first. is_static: they are the operator's, not those of MX records."""

    site: str
    mx_hosts: tuple[MxHost, ...]
    is_static: bool = False


@dataclass(frozen=True, slots=True)
class NoRoute:
    """The domain permanently accepts no mail. enhanced: RFC 3463 code. text: for people."""

    reason: str
    enhanced: str
    text: str


@dataclass(frozen=True, slots=True)
class LookupFailure:
    """The lookup failed (SERVFAIL, timeout). It may be repeated after retry_s."""

    retry_s: float
    text: str


Answer: TypeAlias = Route | NoRoute | LookupFailure


def site_name(hosts: Sequence[str]) -> str:
    """The site name of an MX set, never a reserved name, and short enough for a key."""
    site = key_safe(site_of(hosts))
    return f"{site}." if site in RESERVED else site


def key_safe(site: str) -> str:
    """A site name without the characters that separate the parts of a queue id."""
    return site[:SITE_MAX].replace("/", "_").replace("@", "_")


class StaticRoutes:
    """`[[route]] domain = "example.com" | "*.example.com" | "*"`, `mx_hosts = ["host:port"]`,
    and optionally `site`. The most specific pattern wins, in any order."""

    def __init__(self, text: str = "") -> None:
        """Raises ValueError, which names the invalid entry."""
        self._by_pattern: dict[str, Route] = {}
        for number, entry in enumerate(tomllib.loads(text).get("route", []), 1):
            pattern = str(entry.get("domain", "")).lower()
            mx_hosts = tuple(parse_mx_host(value) for value in entry.get("mx_hosts", ()))
            if not pattern or not mx_hosts:
                raise ValueError(f"route {number} is incomplete. Set `domain` and `mx_hosts`.")
            if pattern in self._by_pattern:
                raise ValueError(f"route {number}: duplicate domain {pattern!r}. Keep one entry.")
            site = entry.get("site") or site_name([mx_host.host for mx_host in mx_hosts])
            if site in RESERVED:
                raise ValueError(f"route {number}: site {site!r} is reserved. Use another name.")
            self._by_pattern[pattern] = Route(key_safe(str(site)), mx_hosts, is_static=True)

    def sites(self) -> set[str]:
        return {route.site for route in self._by_pattern.values()}

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
    """`host`, `host:port` or `[ipv6]:port`. Raises ValueError."""
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "0")
    if not host or not port.isdigit():
        raise ValueError(f"invalid MX host {text!r}. Use host, host:port or [ipv6]:port.")
    return MxHost(host.strip("[]"), 0, int(port))
