"""Addresses that customers' URLs can connect to: RFC 6890, RFC 8190.

Default deny: IPv6 only from global unicast (2000::/3, RFC 4291 §2.4), no ranges of IANA's
special-purpose registries, and no tunnels to IPv4 addresses. Two kinds are checked by the IPv4
address inside: mapped addresses (::ffff:0:0/96), which are IPv4, and those of the well-known NAT64
prefix (RFC 6052), which DNS64 returns for public hosts.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import urlsplit

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

URL_MAX = 2048
NAT64 = IPv6Network("64:ff9b::/96")
GLOBAL_UNICAST = IPv6Network("2000::/3")
SPECIAL = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
    )
)  # fmt: skip
# ISATAP (RFC 5214 §6.1): an interface identifier that names an IPv4 address.
ISATAP = frozenset((0x00005EFE, 0x02005EFE))


def unwrap_ipv4(address: Address) -> Address:
    """The IPv4 address inside a mapped or NAT64 address; other addresses unchanged."""
    if isinstance(address, IPv6Address):
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address
    return address


def is_within(address: Address, among: Iterable[Network]) -> bool:
    """Whether the address is in one of the networks."""
    return any(address.version == net.version and address in net for net in among)


def membership(networks: Iterable[Network]) -> Callable[[str], bool]:
    """A function that tells whether an address, in words, is in one of the networks."""
    among = tuple(networks)
    return lambda text: is_within(canonical_ip(text), among)


@lru_cache(maxsize=4096)
def is_public(address: Address) -> bool:
    """Whether an address is on the public internet."""
    address = unwrap_ipv4(address)
    if isinstance(address, IPv6Address):
        tunnelled = (int(address) >> 32) & 0xFFFFFFFF in ISATAP
        if tunnelled or address not in GLOBAL_UNICAST or address.scope_id:
            return False
    return not is_within(address, SPECIAL)


def may_connect(address: Address, allowed: Iterable[Network]) -> bool:
    """Whether the address is public, or in a network that the operator allows."""
    return is_within(unwrap_ipv4(address), allowed) or is_public(address)


def canonical_ip(text: str) -> Address:
    """Parse an address; an IPv4-mapped one (RFC 4291 §2.5.5.2) becomes IPv4."""
    return unwrap_ipv4(ip_address(text.partition("%")[0]))


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Parse an allow-list. Raises ValueError for text that is not a CIDR range."""
    return tuple(ip_network(text.strip()) for text in texts)


@lru_cache(maxsize=4096)
def is_allowed_target(text: str, allowed: tuple[Network, ...], *, plain: bool) -> bool:
    """Whether a connection to a resolved address is allowed. plain: without TLS; then only
    addresses in `allowed` are."""
    address = canonical_ip(text)
    if is_within(address, allowed):
        return True
    return not plain and is_public(ip_address(text))


def address_policy(allowed: Iterable[Network]) -> Callable[[str, bool], bool]:
    """`is_allowed_target` as a function of an address and whether the connection is without TLS."""
    networks = tuple(allowed)
    return lambda text, plain: is_allowed_target(text, networks, plain=plain)


def url_problem(url: str, allowed: tuple[Network, ...]) -> str:
    """Why a customer's URL (RFC 3986) is rejected; empty if it is valid."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "is not a valid URL"
    if len(url) > URL_MAX or any(ord(char) <= 32 or 127 <= ord(char) < 160 for char in url):
        return f"must have at most {URL_MAX} characters and no spaces"
    if parts.scheme not in ("https", "http") or not host:
        return "must be an https:// address"
    if parts.username is not None or parts.password is not None:
        return "must not contain a user name or password"
    if parts.scheme == "http" and not allowed:
        return "must be an https:// address"
    return _literal_problem(host, allowed, plain=parts.scheme == "http")


def _literal_problem(host: str, allowed: tuple[Network, ...], *, plain: bool) -> str:
    try:
        canonical_ip(host)
    except ValueError:
        return ""  # a host name: its addresses are checked on every connection
    return "" if is_allowed_target(host, allowed, plain=plain) else "must not be a private address"
