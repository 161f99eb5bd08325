"""Where a message sends its reader."""

import re
from collections.abc import Callable

from services.shield.domain.links import IP_HOST, Link, registered
from services.shield.domain.measures.finding import Finding, Measure, Terms, counted
from services.shield.domain.measures.headers import belongs, genuine
from services.shield.domain.reading import Reading

PLACES_MAX = 6
LABEL_END = re.compile(r"[.-]")
NO_NAME = re.compile(r"[^a-z0-9]")


def counting(test: Callable[[Link], bool]) -> Measure:
    """The measure that counts the links of which `test` is true."""

    def measure(reading: Reading, _: Terms) -> Finding:
        return counted([each.url for each in reading.links if test(each)])

    return measure


def numbered(each: Link) -> bool:
    """Three digits in a name (and not in an address): shop4829.example."""
    return sum(map(str.isdigit, each.domain)) >= 3 and each.domain[-1].isalpha()


def link_text_elsewhere(reading: Reading, _: Terms) -> Finding:
    """Links that show one domain and lead to another, which is not the sender's own either.

    Click trackers lead to the sender's domain, or show no address; a lure shows the bank's.
    """
    own = registered(reading.sender_domain)
    return counted(
        [
            f"{each.shown} leads to {each.host}"
            for each in reading.links
            if each.shown and registered(each.shown) != each.domain and each.domain != own
        ]
    )


def link_sender_shown(reading: Reading, _: Terms) -> Finding:
    """Links that show the sender's own domain and lead elsewhere: the sender is being played."""
    own = registered(reading.sender_domain)
    return counted(
        [
            f"{each.shown} leads to {each.host}"
            for each in reading.links
            if each.shown and registered(each.shown) == own != each.domain
        ]
    )


def link_shortener(reading: Reading, terms: Terms) -> Finding:
    hosts = terms.among("shorteners")
    return counted([each.url for each in few(reading) if each.domain in hosts])


def link_free_hosting(reading: Reading, terms: Terms) -> Finding:
    hosts = terms.among("free_hosting")
    return counted([each.host for each in few(reading) if belongs(each.host, hosts)])


def link_risky_tld(reading: Reading, terms: Terms) -> Finding:
    return under(reading, terms.among("risky_tlds"))


def link_bulk_tld(reading: Reading, terms: Terms) -> Finding:
    return under(reading, terms.among("bulk_tlds"))


def under(reading: Reading, tlds: frozenset[str]) -> Finding:
    return counted([each.host for each in few(reading) if each.host.rpartition(".")[2] in tlds])


def few(reading: Reading) -> tuple[Link, ...]:
    """The links of a message that leads to few places; a digest links to all kinds of them."""
    places = {each.domain for each in reading.links}
    return reading.links if len(places) <= PLACES_MAX else ()


def link_brand_host(reading: Reading, terms: Terms) -> Finding:
    """Hosts that carry a brand's name and are not the brand's: paypal.com.login.example."""
    return counted(
        [
            host
            for host in {each.host for each in reading.links}
            for name in set(LABEL_END.split(host)) & terms.brands.keys()
            if not genuine(host, name, terms)
        ]
    )


def link_brand_path(reading: Reading, terms: Terms) -> Finding:
    """Addresses whose path carries a brand's host: http://elsewhere.example/www.paypal.com/login."""
    seen = []
    for each in reading.links:
        path = each.url.partition("//")[2].partition("/")[2]
        if "." not in path:
            continue
        names = set(NO_NAME.split(path)) & terms.brands.keys()
        if any(
            f"{name}.com" in path and not belongs(each.host, terms.brands[name]) for name in names
        ):
            seen.append(each.url)
    return counted(seen)


def link_domains(reading: Reading, _: Terms) -> Finding:
    """Different registered domains."""
    return Finding(len({each.domain for each in reading.links}))


def link_tlds(reading: Reading, _: Terms) -> Finding:
    """Different top level domains."""
    return Finding(len({each.host.rpartition(".")[2] for each in reading.links}))


def link_foreign(reading: Reading, _: Terms) -> Finding:
    """Share of links that lead away from the sender's domain."""
    if not reading.links:
        return Finding(0)
    own = registered(reading.sender_domain)
    return Finding(sum(each.domain != own for each in reading.links) / len(reading.links))


def link_foreign_only(reading: Reading, _: Terms) -> Finding:
    """Few links and all to one domain, which is not the sender's."""
    domains = {each.domain for each in reading.links}
    single = len(domains) == 1 and registered(reading.sender_domain) not in domains
    return Finding(float(single), next(iter(domains)) if single else "")


def links(reading: Reading, _: Terms) -> Finding:
    return Finding(len(reading.links))


MEASURES: dict[str, Measure] = {
    "link_ip": counting(lambda each: bool(IP_HOST.match(each.host))),
    "link_punycode": counting(lambda each: "xn--" in each.host),
    "link_userinfo": counting(lambda each: each.userinfo),
    "link_digits": counting(numbered),
} | {
    each.__name__: each
    for each in (
        link_text_elsewhere,
        link_sender_shown,
        link_shortener,
        link_free_hosting,
        link_risky_tld,
        link_bulk_tld,
        link_brand_host,
        link_brand_path,
        link_domains,
        link_tlds,
        link_foreign,
        link_foreign_only,
        links,
    )
}
