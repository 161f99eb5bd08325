"""The hosts of a message that block lists are queried about."""

from collections.abc import Iterable
from ipaddress import IPv4Address

from mail.address import parse_full_domain
from mail.url import is_ip
from services.shield.domain.links import UrlHost

HOSTS_MAX = 100


def hosts_of_links(targets: Iterable[UrlHost]) -> list[str]:
    """Domain names, as A-labels, and IPv4 addresses; each once. Whatever else a sender writes in
    the place of a host is left out."""
    found = dict.fromkeys(name for one in targets if (name := queried_host(one.host)))
    return list(found)[:HOSTS_MAX]


def queried_host(host: str) -> str:
    """Empty if no list can have it."""
    try:
        return str(IPv4Address(host)) if is_ip(host) else parse_full_domain(host)
    except ValueError:
        return ""
