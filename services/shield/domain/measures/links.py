"""Where a message sends its reader."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

from services.shield.domain.links import Link, Place, belongs, pieces, registered
from services.shield.domain.measures.finding import NONE, Finding, Measure, Terms, counted
from services.shield.domain.measures.headers import genuine
from services.shield.domain.reading import Reading

PLACES_MAX = 6
NO_NAME = re.compile(r"[^a-z0-9]")
Places = Mapping[Place, Sequence[Link]]


@lru_cache(maxsize=8192)
def signs(place: Place, terms: Terms) -> frozenset[str]:
    """The measures to which a link to this place adds. Kept, like the place."""
    said = {
        "link_ip": place.ip,
        "link_punycode": "xn--" in place.host,
        "link_userinfo": place.userinfo,
        "link_digits": place.numbered,
        "link_shortener": place.domain in terms.among("shorteners"),
        "link_free_hosting": belongs(place.host, terms.among("free_hosting")),
        "link_risky_tld": place.tld in terms.among("risky_tlds"),
        "link_bulk_tld": place.tld in terms.among("bulk_tlds"),
        "link_brand_host": bool(strange_brands(place.host, terms)),
    }
    return frozenset(name for name, true in said.items() if true)


def strange_brands(host: str, terms: Terms) -> list[str]:
    """The brands whose name it carries without being theirs: paypal.com.login.example."""
    return [name for name in pieces(host) & terms.brands.keys() if not genuine(host, name, terms)]


def has_signs(reading: Reading, terms: Terms) -> bool:
    return any(signs(place, terms) for place in reading.places)


def leading(name: str, places: Places, terms: Terms) -> list[Sequence[Link]]:
    """The links to places with this sign."""
    return [links for place, links in places.items() if name in signs(place, terms)]


def urls(name: str, reading: Reading, terms: Terms) -> Finding:
    """How many links lead to places with this sign, naming the first."""
    found = leading(name, reading.places, terms)
    return Finding(sum(map(len, found)), found[0][0].url) if found else NONE


def hosts(name: str, reading: Reading, terms: Terms) -> Finding:
    """The same of a message that leads to few places."""
    found = leading(name, few(reading), terms)
    return Finding(sum(map(len, found)), found[0][0].place.host) if found else NONE


def few(reading: Reading) -> Places:
    """The links of a message that leads to few places; a digest links to all kinds of them."""
    domains = {each.domain for each in reading.places}
    return reading.places if len(domains) <= PLACES_MAX else {}


def link_shortener(reading: Reading, terms: Terms) -> Finding:
    found = leading("link_shortener", few(reading), terms)
    return Finding(sum(map(len, found)), found[0][0].url) if found else NONE


def link_brand_host(reading: Reading, terms: Terms) -> Finding:
    """Hosts that carry a brand's name and are not the brand's."""
    unique = dict.fromkeys(each.host for each in reading.places)
    return counted([host for host in unique for _ in strange_brands(host, terms)])


def link_text_elsewhere(reading: Reading, _: Terms) -> Finding:
    """Links that show one domain and lead to another, which is not the sender's own either.

    Click trackers lead to the sender's domain, or show no address; a lure shows the bank's.
    """
    own = registered(reading.sender_domain)
    return counted(
        [
            f"{each.shown} leads to {each.place.host}"
            for each in reading.links
            if each.shown and registered(each.shown) != each.place.domain != own
        ]
    )


def link_sender_shown(reading: Reading, _: Terms) -> Finding:
    """Links that show the sender's own domain and lead elsewhere: the sender is being played."""
    own = registered(reading.sender_domain)
    return counted(
        [
            f"{each.shown} leads to {each.place.host}"
            for each in reading.links
            if each.shown and registered(each.shown) == own != each.place.domain
        ]
    )


def link_brand_path(reading: Reading, terms: Terms) -> Finding:
    """Addresses whose path carries a brand's host: http://elsewhere.example/www.paypal.com/login."""
    seen = []
    for url, _, place in reading.links:
        path = url.partition("//")[2].partition("/")[2] if ".com" in url else ""
        if ".com" not in path:
            continue
        names = set(NO_NAME.split(path)) & terms.brands.keys()
        if any(
            f"{name}.com" in path and not belongs(place.host, terms.brands[name]) for name in names
        ):
            seen.append(url)
    return counted(seen)


def link_domains(reading: Reading, _: Terms) -> Finding:
    """Different registered domains."""
    return Finding(len({each.domain for each in reading.places}))


def link_tlds(reading: Reading, _: Terms) -> Finding:
    """Different top level domains."""
    return Finding(len({each.tld for each in reading.places}))


def link_foreign(reading: Reading, _: Terms) -> Finding:
    """Share of links that lead away from the sender's domain."""
    own = registered(reading.sender_domain)
    away = [len(links) for place, links in reading.places.items() if place.domain != own]
    return Finding(sum(away) / len(reading.links)) if away else NONE


def link_foreign_only(reading: Reading, _: Terms) -> Finding:
    """Few links and all to one domain, which is not the sender's."""
    domains = {each.domain for each in reading.places}
    single = len(domains) == 1 and registered(reading.sender_domain) not in domains
    return Finding(1, next(iter(domains))) if single else NONE


def links(reading: Reading, _: Terms) -> Finding:
    return Finding(len(reading.links))


def has_links(reading: Reading, _: Terms) -> bool:
    return bool(reading.links)


def has_shown(reading: Reading, _: Terms) -> bool:
    return any(each.shown for each in reading.links)


BY_URL = ("link_ip", "link_punycode", "link_userinfo", "link_digits")
BY_HOST = ("link_free_hosting", "link_risky_tld", "link_bulk_tld")
OF_SIGNS: dict[str, Measure] = {
    "link_shortener": link_shortener,
    "link_brand_host": link_brand_host,
    **{name: partial(urls, name) for name in BY_URL},
    **{name: partial(hosts, name) for name in BY_HOST},
}
OF_SHOWN: dict[str, Measure] = {
    each.__name__: each for each in (link_text_elsewhere, link_sender_shown)
}
OF_LINKS: dict[str, Measure] = {
    each.__name__: each
    for each in (link_brand_path, link_domains, link_tlds, link_foreign, link_foreign_only, links)
}
MEASURES = OF_SIGNS | OF_SHOWN | OF_LINKS
NEEDS = (
    dict.fromkeys(OF_SIGNS, has_signs)
    | dict.fromkeys(OF_SHOWN, has_shown)
    | dict.fromkeys(OF_LINKS, has_links)
)
