"""Numbers of the links: where they lead, and how their hosts and paths look."""

import re
from collections import Counter
from collections.abc import Sequence

from services.shield.domain.links import MessageLink, registered_domain
from services.shield.domain.parsing import ParsedMessage

Numbers = dict[str, float]

LINKS = 100  # the first ones tell
TLD_CLASSES = {
    "com": "common", "net": "common", "org": "common",
    "edu": "institution", "gov": "institution", "mil": "institution", "int": "institution",
    "io": "tech", "dev": "tech", "app": "tech", "ai": "tech", "tech": "tech", "cloud": "tech",
    "biz": "bulk", "info": "bulk", "ws": "bulk", "cc": "bulk", "name": "bulk", "mobi": "bulk",
}  # fmt: skip
CLASSES = ("common", "institution", "tech", "bulk", "country", "new")
SOCIAL = frozenset(
    {"facebook.com", "twitter.com", "x.com", "instagram.com", "linkedin.com", "youtube.com",
     "pinterest.com", "tiktok.com", "github.com", "bsky.app", "mastodon.social"}
)  # fmt: skip
HEX = re.compile(r"[0-9a-f]{16}")
CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxz]{5}")
DIGIT = re.compile(r"\d")


def of_links(links: Sequence[MessageLink], message: ParsedMessage, words: int) -> Numbers:
    first = links[:LINKS]
    return {
        "links": len(links),
        "links_per_word": len(links) / (words + 10),
        **of_domains(first, message),
        **of_paths(first),
        **of_hosts(first, registered_domain(message.sender_domain)),
    }


def of_domains(links: Sequence[MessageLink], message: ParsedMessage) -> Numbers:
    own, label = registered_domain(message.sender_domain), own_label(message)
    domains = Counter(each.target.domain for each in links)
    count = len(links) or 1
    foreign = domains.keys() - {own}
    classes = Counter(tld_class(each.target.tld) for each in links)
    return {
        "links_domains": len(domains),
        "links_hosts": len({each.target.host for each in links}),
        "links_top_domain": max(domains.values(), default=0) / count,
        "links_own": domains[own] / count,
        "links_without_own": float(bool(links) and own not in domains),
        "links_one_foreign": float(len(domains) == 1 and bool(foreign)),
        "links_own_label": float(any(label in each for each in domains)),
        "links_social": sum(domains[each] for each in SOCIAL if each in domains) / count,
        **{f"links_tld_{kind}": classes[kind] / count for kind in CLASSES},
    }


def own_label(message: ParsedMessage) -> str:
    """What the sender's domain is called, without its ending; a blank is in no domain."""
    label = registered_domain(message.sender_domain).partition(".")[0]
    return label if len(label) > 2 else " "


def tld_class(tld: str) -> str:
    return TLD_CLASSES.get(tld, "country" if len(tld) == 2 else "new")


def of_paths(links: Sequence[MessageLink]) -> Numbers:
    rests = [each.url.partition("://")[2].partition("/")[2] for each in links]
    paths = [each.partition("?")[0] for each in rests]
    count = len(links) or 1
    return {
        "paths_length": sum(map(len, rests)) / count,
        "paths_longest": max(map(len, rests), default=0),
        "paths_depth": sum(each.count("/") for each in paths) / count,
        "paths_query": sum("?" in each for each in rests) / count,
        "paths_empty": sum(not each for each in rests) / count,
        "paths_php": sum(".php" in each for each in paths) / count,
        "paths_hex": sum(bool(HEX.search(each)) for each in rests) / count,
    }


def of_hosts(links: Sequence[MessageLink], own: str) -> Numbers:
    targets = {each.target.host: each.target for each in links}.values()
    hosts = [each.host for each in targets]
    foreign = [each.domain for each in targets if each.domain != own]
    count, away = len(hosts) or 1, len(foreign) or 1
    shown = [e for e in links if e.text_host]
    return {
        "hosts_labels": max((each.count(".") for each in hosts), default=0),
        "hosts_length": sum(map(len, hosts)) / count,
        "hosts_foreign_length": sum(map(len, foreign)) / away,
        "hosts_foreign_digits": sum(bool(DIGIT.search(each)) for each in foreign) / away,
        "hosts_foreign_hyphens": sum("-" in each for each in foreign) / away,
        "hosts_foreign_consonants": sum(bool(CONSONANTS.search(e)) for e in foreign) / away,
        "hosts_shown": len(shown) / (len(links) or 1),
        "hosts_shown_elsewhere": sum(
            registered_domain(e.text_host) != e.target.domain for e in shown
        ),
    }
