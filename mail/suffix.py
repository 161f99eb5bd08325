"""Public suffixes, under which anyone can register names (RFC 7489 §3.2, RFC 9499 §3): `co.uk`.

Uses the publicsuffix.org list of the installed package; nothing is downloaded.
"""

from functools import lru_cache

from publicsuffixlist import PublicSuffixList


@lru_cache(maxsize=1)  # reading it takes 0.2 s
def _suffix_list() -> PublicSuffixList:
    """The ICANN section. Suffixes of the private section are company domains that send mail too."""
    return PublicSuffixList(only_icann=True)


def is_public_suffix(domain: str) -> bool:
    """Whether a domain is a public suffix. domain: A-labels, lower case."""
    return _suffix_list().is_public(domain)


def registrable_domain(domain: str) -> str:
    """The public suffix of a domain with one more label, which has one owner; the domain itself if
    it is a public suffix. domain: A-labels, lower case."""
    return _suffix_list().privatesuffix(domain) or domain
