"""Measures of the links in a message."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

from services.shield.domain.links import (
    MessageLink,
    UrlHost,
    host_parts,
    is_within,
    registered_domain,
)
from services.shield.domain.measures.finding import NONE, Finding, Measure, NameLists, count_of
from services.shield.domain.measures.headers import is_genuine
from services.shield.domain.parsing import ParsedMessage

TARGET_DOMAINS_MAX = 6
NO_NAME = re.compile(r"[^a-z0-9]")
Targets = Mapping[UrlHost, Sequence[MessageLink]]


@lru_cache(maxsize=8192)
def link_signs(target: UrlHost, lists: NameLists) -> frozenset[str]:
    """The measures that a link to this target adds to. Cached, like the target."""
    found = {
        "link_ip": target.ip,
        "link_punycode": "xn--" in target.host,
        "link_userinfo": target.userinfo,
        "link_digits": target.numbered,
        "link_shortener": target.domain in lists.among("shorteners"),
        "link_free_hosting": is_within(target.host, lists.among("free_hosting")),
        "link_risky_tld": target.tld in lists.among("risky_tlds"),
        "link_bulk_tld": target.tld in lists.among("bulk_tlds"),
        "link_host_names_brand": bool(foreign_brands(target.host, lists)),
    }
    return frozenset(name for name, true in found.items() if true)


def foreign_brands(host: str, lists: NameLists) -> list[str]:
    """The brands that a host names without being theirs: paypal.com.login.example."""
    return [
        name for name in host_parts(host) & lists.brands.keys() if not is_genuine(host, name, lists)
    ]


def has_signs(message: ParsedMessage, lists: NameLists) -> bool:
    return any(link_signs(target, lists) for target in message.targets)


def links_with_sign(name: str, targets: Targets, lists: NameLists) -> list[Sequence[MessageLink]]:
    """The links whose target has this sign."""
    return [links for target, links in targets.items() if name in link_signs(target, lists)]


def count_with_url(name: str, message: ParsedMessage, lists: NameLists) -> Finding:
    """The number of links whose target has this sign, with the first URL."""
    found = links_with_sign(name, message.targets, lists)
    return Finding(sum(map(len, found)), found[0][0].url) if found else NONE


def count_with_host(name: str, message: ParsedMessage, lists: NameLists) -> Finding:
    """The number of links whose target has this sign, with the first host, if there are few
    targets."""
    found = links_with_sign(name, links_if_few_targets(message), lists)
    return Finding(sum(map(len, found)), found[0][0].target.host) if found else NONE


def links_if_few_targets(message: ParsedMessage) -> Targets:
    """The links of a message with few target domains; a digest has many."""
    domains = {each.domain for each in message.targets}
    return message.targets if len(domains) <= TARGET_DOMAINS_MAX else {}


def link_shortener(message: ParsedMessage, lists: NameLists) -> Finding:
    found = links_with_sign("link_shortener", links_if_few_targets(message), lists)
    return Finding(sum(map(len, found)), found[0][0].url) if found else NONE


def link_host_names_brand(message: ParsedMessage, lists: NameLists) -> Finding:
    """Hosts that contain a brand's name but are not the brand's."""
    unique = dict.fromkeys(each.host for each in message.targets)
    return count_of([host for host in unique for _ in foreign_brands(host, lists)])


def link_text_elsewhere(message: ParsedMessage, _: NameLists) -> Finding:
    """Links whose text names one domain and that lead to another, which is not the sender's own.

    Click trackers lead to the sender's domain, or have no address as text; phishing names the
    bank's.
    """
    own = registered_domain(message.sender_domain)
    return count_of(
        [
            f"{each.text_host} leads to {each.target.host}"
            for each in message.links
            if each.text_host and registered_domain(each.text_host) != each.target.domain != own
        ]
    )


def link_text_is_sender(message: ParsedMessage, _: NameLists) -> Finding:
    """Links whose text names the sender's own domain but that lead elsewhere: the sender is being
    impersonated."""
    own = registered_domain(message.sender_domain)
    return count_of(
        [
            f"{each.text_host} leads to {each.target.host}"
            for each in message.links
            if each.text_host and registered_domain(each.text_host) == own != each.target.domain
        ]
    )


def link_path_names_brand(message: ParsedMessage, lists: NameLists) -> Finding:
    """URLs whose path contains a brand's host: http://attacker.example/www.paypal.com/login."""
    seen = []
    for url, _, target in message.links:
        path = url.partition("//")[2].partition("/")[2] if ".com" in url else ""
        if ".com" not in path:
            continue
        names = set(NO_NAME.split(path)) & lists.brands.keys()
        if any(
            f"{name}.com" in path and not is_within(target.host, lists.brands[name])
            for name in names
        ):
            seen.append(url)
    return count_of(seen)


def link_domain_count(message: ParsedMessage, _: NameLists) -> Finding:
    """Number of different registered domains."""
    return Finding(len({each.domain for each in message.targets}))


def link_tld_count(message: ParsedMessage, _: NameLists) -> Finding:
    """Number of different top-level domains."""
    return Finding(len({each.tld for each in message.targets}))


def link_foreign_share(message: ParsedMessage, _: NameLists) -> Finding:
    """Share of links that lead away from the sender's domain."""
    own = registered_domain(message.sender_domain)
    away = [len(links) for target, links in message.targets.items() if target.domain != own]
    return Finding(sum(away) / len(message.links)) if away else NONE


def link_foreign_only(message: ParsedMessage, _: NameLists) -> Finding:
    """Few links, all to one domain that is not the sender's."""
    domains = {each.domain for each in message.targets}
    single = len(domains) == 1 and registered_domain(message.sender_domain) not in domains
    return Finding(1, next(iter(domains))) if single else NONE


def link_count(message: ParsedMessage, _: NameLists) -> Finding:
    return Finding(len(message.links))


def has_links(message: ParsedMessage, _: NameLists) -> bool:
    return bool(message.links)


def has_text_host(message: ParsedMessage, _: NameLists) -> bool:
    return any(each.text_host for each in message.links)


BY_URL = ("link_ip", "link_punycode", "link_userinfo", "link_digits")
BY_HOST = ("link_free_hosting", "link_risky_tld", "link_bulk_tld")
OF_SIGNS: dict[str, Measure] = {
    "link_shortener": link_shortener,
    "link_host_names_brand": link_host_names_brand,
    **{name: partial(count_with_url, name) for name in BY_URL},
    **{name: partial(count_with_host, name) for name in BY_HOST},
}
OF_TEXT_HOSTS: dict[str, Measure] = {
    each.__name__: each for each in (link_text_elsewhere, link_text_is_sender)
}
OF_LINKS: dict[str, Measure] = {
    each.__name__: each
    for each in (
        link_path_names_brand,
        link_domain_count,
        link_tld_count,
        link_foreign_share,
        link_foreign_only,
        link_count,
    )
}
MEASURES = OF_SIGNS | OF_TEXT_HOSTS | OF_LINKS
NEEDS = (
    dict.fromkeys(OF_SIGNS, has_signs)
    | dict.fromkeys(OF_TEXT_HOSTS, has_text_host)
    | dict.fromkeys(OF_LINKS, has_links)
)
