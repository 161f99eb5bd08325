"""Domains that cannot receive mail: RFC 2606, RFC 6761, RFC 7686, RFC 8375, RFC 9476."""

from collections.abc import Container
from typing import NamedTuple

from kernel.brand import Brand

_TOP = frozenset(
    ("test", "example", "invalid", "localhost", "local", "onion", "alt", "internal", "lan")
)
_NAMES = ("example.com", "example.net", "example.org", "home.arpa")


def is_reserved(domain: str) -> bool:
    """domain: in lower case."""
    if domain.rpartition(".")[2] in _TOP:
        return True
    return domain.endswith(_NAMES) and any(
        domain == name or domain.endswith(f".{name}") for name in _NAMES
    )


def is_within(domain: str, names: Container[str]) -> bool:
    """True if the domain is one of the names or a subdomain of one."""
    while domain:
        if domain in names:
            return True
        domain = domain.partition(".")[2]
    return False


class SpecialUseDomains(NamedTuple):
    """reserved: reserved domains that accept live mail here. sandbox: domains of the brands that
    accept test mail only."""

    reserved: Container[str] = frozenset()
    sandbox: Container[str] = frozenset((Brand().sandbox_domain,))

    def is_refused(self, domain: str) -> bool:
        """True if the domain is reserved, and not allowed here."""
        return is_reserved(domain) and not is_within(domain, self.reserved)

    def is_sandbox(self, domain: str) -> bool:
        return is_within(domain, self.sandbox)
