"""Measures of From, Reply-To, Subject and the other header fields."""

import re
from functools import lru_cache

from mail.address import domain_of
from services.shield.domain.links import host_parts, is_within, registered_domain
from services.shield.domain.measures.finding import (
    NONE,
    Finding,
    Measure,
    NameLists,
    Need,
    count_of,
)
from services.shield.domain.parsing import ParsedMessage

# Matches only from the start of a run, so that each run is scanned once.
ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]+@((?:[\w-]+\.)+[a-z]{2,})", re.IGNORECASE)
WORD = re.compile(r"[a-z0-9]+")
# Each expensive pattern has a cheap one that must match first.
SEPARATED = re.compile(r"[ ._*-]\w[ ._*-]\w[ ._*-]\w[ ._*-]")
SPACED_OUT = re.compile(r"(?:\b\w[ ._*-]){4,}\w\b")
SIGN_IN_WORD = re.compile(r"[0-9@$!|][a-z]", re.IGNORECASE)
MIXED = re.compile(r"(?<![a-z])[a-z]+[0-9@$!|]+[a-z]+", re.IGNORECASE)


def display_name(sender: str) -> str:
    return sender.partition("<")[0].strip(' "')


def from_name_is_address(message: ParsedMessage, _: NameLists) -> Finding:
    """The display name contains an address of another domain than the real one."""
    found = ADDRESS.search(display_name(message.sender)) if "<" in message.sender else None
    if found and registered_domain(found[1].lower()) != registered_domain(message.sender_domain):
        return Finding(1, found[0])
    return NONE


@lru_cache(maxsize=8192)
def name_words(sender: str) -> frozenset[str]:
    """The words of the display name. Cached, because a tenant uses few names."""
    return frozenset(WORD.findall(display_name(sender).lower()))


def from_name_is_brand(message: ParsedMessage, lists: NameLists) -> Finding:
    """The display name is that of a known brand, but the address is not."""
    for name in sorted(name_words(message.sender) & lists.brands.keys()):
        if not is_genuine(message.sender_domain, name, lists):
            return Finding(1, f"{name} from {message.sender_domain}")
    return NONE


def from_host_names_brand(message: ParsedMessage, lists: NameLists) -> Finding:
    """The sender's host contains a brand's name but is not the brand's: paypal-secure.example."""
    for name in sorted(host_parts(message.sender_domain) & lists.brands.keys()):
        if not is_genuine(message.sender_domain, name, lists):
            return Finding(1, message.sender_domain)
    return NONE


def is_genuine(host: str, brand: str, lists: NameLists) -> bool:
    """True for the brand's own domains, and for a domain named only after it (ebay.it)."""
    own = registered_domain(host).partition(".")[0] == brand
    return own or is_within(host, lists.brands[brand])


def reply_to_freemail(message: ParsedMessage, lists: NameLists) -> Finding:
    """Replies go to a free mailbox although the sender has a domain."""
    hosts = [domain_of(each) for each in message.content.reply_to]
    free = [each for each in hosts if each in lists.among("freemail")]
    return Finding(float(bool(free) and message.sender_domain not in free), free[0] if free else "")


def reply_to_elsewhere(message: ParsedMessage, _: NameLists) -> Finding:
    hosts = dict.fromkeys(domain_of(each) for each in message.content.reply_to)
    own = registered_domain(message.sender_domain)
    others = [each for each in hosts if registered_domain(each) != own]
    return Finding(len(others), others[0] if others else "")


def subject_capitals_share(message: ParsedMessage, _: NameLists) -> Finding:
    """Share of capitals among the letters, from twelve letters on."""
    letters = sum(map(str.isalpha, message.subject))
    capitals = sum(map(str.isupper, message.subject))
    return Finding(capitals / letters) if letters >= 12 else NONE


def subject_exclamations(message: ParsedMessage, _: NameLists) -> Finding:
    return Finding(message.subject.count("!"))


def subject_spaced_out(message: ParsedMessage, _: NameLists) -> Finding:
    """For example V.I.A.G.R.A"""
    found = SPACED_OUT.search(message.subject) if SEPARATED.search(message.subject) else None
    return Finding(1, found[0]) if found else NONE


def subject_obfuscated_words(message: ParsedMessage, _: NameLists) -> Finding:
    """Words with a digit or sign inside: v1agra, ca$h."""
    if not SIGN_IN_WORD.search(message.subject):
        return NONE
    return count_of(MIXED.findall(message.subject))


def has_replies(message: ParsedMessage, _: NameLists) -> bool:
    return bool(message.content.reply_to)


MEASURES: dict[str, Measure] = {
    each.__name__: each
    for each in (
        from_name_is_address,
        from_name_is_brand,
        from_host_names_brand,
        reply_to_freemail,
        reply_to_elsewhere,
        subject_capitals_share,
        subject_exclamations,
        subject_spaced_out,
        subject_obfuscated_words,
    )
}
NEEDS: dict[str, Need] = {
    "reply_to_freemail": has_replies,
    "reply_to_elsewhere": has_replies,
}
