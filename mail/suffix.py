"""Public suffixes, under which anyone can register names (RFC 7489 §3.2, RFC 9499 §3): `co.uk`.

Uses the publicsuffix.org list of the installed package; nothing is downloaded.
"""

from publicsuffixlist import PublicSuffixList

# The ICANN section: suffixes of the private section are company domains that send mail too. Reading
# it takes 0.2 s, for which no event loop should wait.
_SUFFIXES = PublicSuffixList(only_icann=True)


def is_public_suffix(domain: str) -> bool:
    """Whether a domain is a public suffix. domain: A-labels, lower case."""
    return _SUFFIXES.is_public(domain)


def registrable_domain(domain: str) -> str:
    """The public suffix of a domain with one more label, which has one owner; the domain itself if
    it is a public suffix. domain: A-labels, lower case."""
    return _SUFFIXES.privatesuffix(domain) or domain
