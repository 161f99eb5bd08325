"""Domains that cannot receive mail: RFC 2606, RFC 6761, RFC 7686, RFC 8375, RFC 9476."""

from collections.abc import Set
from typing import TypeAlias

AllowedDomains: TypeAlias = Set[str]

_TOP = frozenset(
    ("test", "example", "invalid", "localhost", "local", "onion", "alt", "internal", "lan")
)
SANDBOX_DOMAIN = "obm-sandbox.net"
_NAMES = ("example.com", "example.net", "example.org", "home.arpa")


def is_reserved(domain: str) -> bool:
    """domain: in lower case."""
    if domain.rpartition(".")[2] in _TOP:
        return True
    return domain.endswith(_NAMES) and any(
        domain == name or domain.endswith(f".{name}") for name in _NAMES
    )


def is_sandbox(domain: str) -> bool:
    """True if the domain accepts test mail only."""
    return domain == SANDBOX_DOMAIN or domain.endswith(f".{SANDBOX_DOMAIN}")


def is_within(domain: str, allowed: AllowedDomains) -> bool:
    """True if the domain is one of the allowed ones or a subdomain of one."""
    return any(domain == name or domain.endswith(f".{name}") for name in allowed)
