"""Webhook endpoints: which events they want, and which addresses may be called."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from mail.reachable import Address, Network, is_public, is_within, unwrapped

URL_MAX = 2048


@dataclass(frozen=True, slots=True)
class Endpoint:
    """secret: encrypted. failures: tries since the last success. test: told of test mail alone."""

    id: str
    tenant_id: str
    url: str
    secret: bytes
    event_types: Sequence[str] = ()
    failures: int = 0
    test: bool = False


def wants(event_types: Collection[str], name: str) -> bool:
    """Whether an endpoint is told of events of this type; an empty filter means all."""
    return not event_types or name in event_types


def canonical(text: str) -> Address:
    """An address; one of IPv4 in IPv6's clothes (RFC 4291 §2.5.5.2) as what it is."""
    return unwrapped(ip_address(text.partition("%")[0]))


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """An allow-list. Raises ValueError for what is not in CIDR form."""
    return tuple(ip_network(text.strip()) for text in texts)


@lru_cache(maxsize=4096)
def may_call(text: str, allowed: tuple[Network, ...], *, plain: bool) -> bool:
    """Whether a resolved address may be connected to. plain: without TLS, only if it is allowed."""
    address = canonical(text)
    if is_within(address, allowed):
        return True
    return not plain and is_public(ip_address(text))


def problem_of(url: str, allowed: tuple[Network, ...]) -> str:
    """Why a URL cannot be an endpoint; empty when it can."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "endpoint is not a valid URL"
    if len(url) > URL_MAX or any(ord(char) <= 32 or 127 <= ord(char) < 160 for char in url):
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
