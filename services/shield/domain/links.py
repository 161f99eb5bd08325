"""Hosts of links, and whose they are."""

import re
from dataclasses import dataclass
from functools import lru_cache

# co.uk, com.br, …: where a country sells names one label deeper. No public suffix list: these rules
# compare hosts of one message, and a miss costs one weak sign.
SECOND_LEVEL = frozenset({"co", "com", "org", "net", "gov", "ac", "edu", "ne", "or", "go"})
URL = re.compile(r"https?://[^\s<>\"')\]]+", re.IGNORECASE)
SHOWN_HOST = re.compile(r"^(?:https?://)?((?:[a-z0-9-]+\.)+[a-z]{2,24})(?:[:/?#].*)?$")
# Browsers take a backslash for a slash, and any number of either. The last @ ends the userinfo.
AUTHORITY = re.compile(r"(?:https?:)?[/\\]{2,}(?:([^/\\?#]*)@)?(\[[^\]]*\]|[^/\\?#:]*)(?::(\d*))?")
URL_CHARS = 2000
HOST_CHARS = 253  # RFC 1035 §2.3.4, in text
IP_HOST = re.compile(
    r"^(?:\d{1,3}(?:\.\d{1,3}){3}|\d{8,10}|0x[0-9a-f]{2,8}(?:\.0x[0-9a-f]+)*|\[.*\])$"
)


@dataclass(frozen=True, slots=True)
class Link:
    """One place that the reader is sent to; all in lower case."""

    url: str
    host: str  # empty: not a web address
    domain: str  # what was registered: the last two or three labels of host
    shown: str  # the host that the visible text names, if it names one
    userinfo: bool = False  # reads like a host: http://bank.example@elsewhere.example/
    port: str = ""


def link(url: str, text: str = "") -> Link:
    """`text` is what the reader sees in place of the address."""
    url = url.strip()[:URL_CHARS].lower()
    userinfo, host, port = authority(url)
    named = SHOWN_HOST.match(text.strip().lower()) if "." in text and len(text) < 200 else None
    shown = named[1] if named else ""
    return Link(url, host, registered(host), shown, userinfo="." in userinfo, port=port)


def authority(url: str) -> tuple[str, str, str]:
    """userinfo, host and port of an http address (RFC 3986 §3.2), as browsers read it."""
    if not (found := AUTHORITY.match(url)):
        return "", "", ""
    userinfo, host, port = found.groups("")
    return userinfo, host[:HOST_CHARS].strip("."), port


@lru_cache(maxsize=8192)
def registered(host: str) -> str:
    """`mail.shop.example.co.uk` → `example.co.uk`; an address stays whole."""
    if IP_HOST.match(host):
        return host
    labels = host.split(".")
    deep = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in SECOND_LEVEL
    return ".".join(labels[-3:] if deep else labels[-2:])


def mail_domain(mailbox: str) -> str:
    """The host behind the last `@` of a mailbox, display name or not; lower case."""
    return mailbox.rpartition("@")[2].strip(" <>\"'\t").lower()
