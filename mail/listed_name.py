"""The name by which a block list has a host: RFC 5782 §3, with publicsuffix.org.

Lists have the domain that one owner has registered; under a suffix where anyone gets a name, as
`github.io`, that is the name of its customer. The first call reads the list of suffixes, in 0.3 s.
"""

from functools import lru_cache

from publicsuffixlist import PublicSuffixList

from mail.dnsbl import EntryKind, kind_of

CACHED_MAX = 50_000


@lru_cache(maxsize=1)
def suffixes() -> PublicSuffixList:
    """With those of companies, whose customers have names below them."""
    return PublicSuffixList()


@lru_cache(maxsize=CACHED_MAX)
def listed_name(host: str) -> str:
    """host: A-labels in lower case, or an address."""
    if kind_of(host) is not EntryKind.DOMAIN:
        return host
    return suffixes().privatesuffix(host) or host
