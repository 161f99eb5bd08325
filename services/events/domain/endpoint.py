"""Webhook endpoints: which events they want, and which addresses may be called."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias
from urllib.parse import urlsplit

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

URL_MAX = 2048

# IANA's special-purpose registries (RFC 6890 and its successors), and what translates into them.
PRIVATE = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "::/128", "::1/128", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64",
        "100:0:0:1::/64", "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48",
        "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Endpoint:
    """secret: encrypted. failures: tries since the last success."""

    id: str
    tenant_id: str
    url: str
    secret: bytes
    event_types: Sequence[str] = ()
    failures: int = 0


def wants(event_types: Collection[str], name: str) -> bool:
    """Whether an endpoint is told of events of this type; an empty filter means all."""
    return not event_types or name in event_types


def canonical(text: str) -> Address:
    """An address; one of IPv4 in IPv6's clothes (RFC 4291 §2.5.5.2) as what it is."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """An allow-list. Raises ValueError for what is not in CIDR form."""
    return tuple(ip_network(text.strip()) for text in texts)


def is_within(address: Address, among: Iterable[Network]) -> bool:
    return any(address.version == net.version and address in net for net in among)


@lru_cache(maxsize=4096)
def may_call(text: str, allowed: tuple[Network, ...], *, plain: bool) -> bool:
    """Whether a resolved address may be connected to. plain: without TLS, only if it is allowed."""
    address = canonical(text)
    if is_within(address, allowed):
        return True
    return not plain and not is_within(address, PRIVATE)


def problem_of(url: str, allowed: tuple[Network, ...]) -> str:
    """Why a URL cannot be an endpoint; empty when it can."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "endpoint is not a valid URL"
    if len(url) > URL_MAX or any(ord(char) <= 32 or ord(char) == 127 for char in url):
        return f"endpoint must have at most {URL_MAX} characters and no spaces"
    if parts.scheme not in ("https", "http") or not host:
        return "endpoint must be an https:// address"
    if parts.username is not None or parts.password is not None:
        return "endpoint must not carry a user name or password"
    if parts.scheme == "http" and not allowed:
        return "endpoint must be an https:// address"
    return _literal_problem(host, allowed, plain=parts.scheme == "http")


def _literal_problem(host: str, allowed: tuple[Network, ...], *, plain: bool) -> str:
    try:
        canonical(host)
    except ValueError:
        return ""  # a name: what it resolves to is looked at on every connection
    return "" if may_call(host, allowed, plain=plain) else "endpoint must not be a private address"
