"""Parts of the patterns that read HTML (RFC 2854's successors): they give nothing back, so that a
search takes linear time.

Early releases of Python 3.11, as of Debian 12, loop forever on a possessive repetition of a group,
`(?:…)*+`, and take all memory. Those of a single character are sound, and so are atomic groups.
"""

_AT_ONCE = 1000  # after so many repetitions the state of each is dropped


def repeated(pattern: str) -> str:
    """As `(?:pattern)*+`. The pattern must not match the empty text."""
    return rf"(?>(?:(?>(?:{pattern}){{1,{_AT_ONCE}}}))*)"


def optional(pattern: str) -> str:
    """As `(?:pattern)?+`."""
    return f"(?>(?:{pattern})?)"
