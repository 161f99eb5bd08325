"""URLs in text and their hosts: RFC 3986, parsed as browsers do.

For analysis of untrusted URLs; `mail.tracking` decides which links are tracked.
"""

import re
from typing import NamedTuple

# The literal : comes first and lookbehinds check the scheme, so that searching is a memchr.
_URL = re.compile(r":(?:(?<=https:)|(?<=http:))//[^\s<>\"')\]]+", re.IGNORECASE)
# Browsers accept backslashes and any number of slashes. The last @ ends the userinfo.
_AUTHORITY = re.compile(
    r"(?:[hH][tT]{2}[pP][sS]?:)?[/\\]{2,}(?:([^/\\?#]*)@)?(\[[^\]]*\]|[^/\\?#:]*)(?::(\d*))?"
)
_HOST_CHARS = 253  # RFC 1035 §2.3.4, in text
_IP = re.compile(
    r"(?:\d{1,3}(?:\.\d{1,3}){3}|\d{8,10}|0x[0-9a-f]{2,8}(?:\.0x[0-9a-f]+)*|\[.*\])$",
    re.IGNORECASE,
)


class Authority(NamedTuple):
    """The authority of a URL (§3.2), as written. An empty host: it is not an http(s) URL."""

    userinfo: str = ""
    host: str = ""
    port: str = ""


def find_urls(text: str) -> list[str]:
    """The http(s) URLs in a text, in order."""
    found = _URL.finditer(text) if "://" in text else ()
    return [text[_scheme(text, each.start()) : each.end()] for each in found]


def _scheme(text: str, colon: int) -> int:
    """Offset of the http or https before this colon."""
    return colon - (4 if text[colon - 1] in "pP" else 5)


def parse_authority(url: str) -> Authority:
    """The authority of an http(s) URL, with or without its scheme."""
    if not (found := _AUTHORITY.match(url)):
        return Authority()
    userinfo, host, port = found.groups("")
    return Authority(userinfo, host[:_HOST_CHARS].strip("."), port)


def is_ip(host: str) -> bool:
    """Whether a host is an IP address (§3.2.2): in brackets, dotted, or one number."""
    return bool(_IP.match(host))
