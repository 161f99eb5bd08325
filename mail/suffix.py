"""Public suffixes, below which anybody registers names (RFC 7489 §3.2, RFC 9499 §3): `co.uk`.

By the list of publicsuffix.org as its package brings it: nothing is fetched.
"""

from functools import lru_cache

from publicsuffixlist import PublicSuffixList


@lru_cache(maxsize=1)  # reading it takes 0.2 s
def _suffix_list() -> PublicSuffixList:
    """The part of ICANN. Suffixes of the other are names of companies, which send mail too."""
    return PublicSuffixList(only_icann=True)


def is_public_suffix(domain: str) -> bool:
    """domain: A-labels, lower case."""
    return _suffix_list().is_public(domain)
