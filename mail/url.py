"""Web addresses in text and where they lead: RFC 3986, read as browsers do.

For looking at addresses that strangers wrote; what may be followed by way of us is for
`mail.tracking` to say.
"""

import re
from typing import NamedTuple

# The literal : comes first, and what must stand before it after: searching stays a memchr.
_URL = re.compile(r":(?:(?<=https:)|(?<=http:))//[^\s<>\"')\]]+", re.IGNORECASE)
# Browsers take a backslash for a slash, and any number of either. The last @ ends the userinfo.
_AUTHORITY = re.compile(
    r"(?:[hH][tT]{2}[pP][sS]?:)?[/\\]{2,}(?:([^/\\?#]*)@)?(\[[^\]]*\]|[^/\\?#:]*)(?::(\d*))?"
)
_HOST_CHARS = 253  # RFC 1035 §2.3.4, in text
_IP = re.compile(
    r"(?:\d{1,3}(?:\.\d{1,3}){3}|\d{8,10}|0x[0-9a-f]{2,8}(?:\.0x[0-9a-f]+)*|\[.*\])$",
    re.IGNORECASE,
)


class Authority(NamedTuple):
    """Whom an address asks (§3.2), as written. No host: it is not a web address."""

    userinfo: str = ""
    host: str = ""
    port: str = ""


def find_urls(text: str) -> list[str]:
    """The http addresses in a text, in their order."""
    found = _URL.finditer(text) if "://" in text else ()
    return [text[_scheme(text, each.start()) : each.end()] for each in found]


def _scheme(text: str, colon: int) -> int:
    """Where the http or https before this colon begins."""
    return colon - (4 if text[colon - 1] in "pP" else 5)


def authority(url: str) -> Authority:
    """Of an http address, with or without its scheme."""
    if not (found := _AUTHORITY.match(url)):
        return Authority()
    userinfo, host, port = found.groups("")
    return Authority(userinfo, host[:_HOST_CHARS].strip("."), port)


def is_ip(host: str) -> bool:
    """Whether a host is an address and no name (§3.2.2): in brackets, dotted, or in one number."""
    return bool(_IP.match(host))
