"""DNS block lists: RFC 5782."""

from collections.abc import Sequence
from ipaddress import IPv4Network, ip_address, ip_network

ANSWERS = ip_network("127.0.0.0/8")
# Spamhaus and others answer so when a query is refused: too many, or through an open resolver.
ERRORS = IPv4Network("127.255.255.0/24")
LISTED_TESTS = {4: "127.0.0.2", 6: "::ffff:7f00:2"}  # §5
UNLISTED_TESTS = {4: "127.0.0.1", 6: "::ffff:7f00:1"}


def query_name(address: str, zone: str) -> str:
    """The name whose A records say whether a zone lists an address (§2.1, §2.4)."""
    reverse = ip_address(address).reverse_pointer
    return f"{reverse.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone}"


def is_listing(answers: Sequence[str] | None) -> bool | None:
    """answers: the A records; None if the lookup failed. Returns None if they answer nothing: a
    zone that has moved or expired may return any address (§2.3)."""
    if answers is None:
        return None
    found = [ip_address(one) for one in answers]
    if any(one not in ANSWERS or one in ERRORS for one in found):
        return None
    return bool(found)
