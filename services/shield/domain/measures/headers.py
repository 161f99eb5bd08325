"""From, Reply-To, Subject and the other fields."""

import re
from functools import lru_cache

from mail.address import domain_of
from services.shield.domain.links import belongs, pieces, registered
from services.shield.domain.measures.finding import NONE, Finding, Measure, Need, Terms, counted
from services.shield.domain.reading import Reading

# From where a run begins, so that each is looked at once.
ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]+@((?:[\w-]+\.)+[a-z]{2,})", re.IGNORECASE)
WORD = re.compile(r"[a-z0-9]+")
# Each after what it takes, which is quicker to look for.
SEPARATED = re.compile(r"[ ._*-]\w[ ._*-]\w[ ._*-]\w[ ._*-]")
SPACED_OUT = re.compile(r"(?:\b\w[ ._*-]){4,}\w\b")
SIGN_IN_WORD = re.compile(r"[0-9@$!|][a-z]", re.IGNORECASE)
MIXED = re.compile(r"(?<![a-z])[a-z]+[0-9@$!|]+[a-z]+", re.IGNORECASE)


def display_name(sender: str) -> str:
    return sender.partition("<")[0].strip(' "')


def from_name_is_address(reading: Reading, _: Terms) -> Finding:
    """The display name shows an address at another domain than the real one."""
    shown = ADDRESS.search(display_name(reading.sender)) if "<" in reading.sender else None
    if shown and registered(shown[1].lower()) != registered(reading.sender_domain):
        return Finding(1, shown[0])
    return NONE


@lru_cache(maxsize=8192)
def name_words(sender: str) -> frozenset[str]:
    """Of the display name. Kept: a tenant writes under few names."""
    return frozenset(WORD.findall(display_name(sender).lower()))


def from_brand(reading: Reading, terms: Terms) -> Finding:
    """The display name is a known brand's, the address is not."""
    for name in sorted(name_words(reading.sender) & terms.brands.keys()):
        if not genuine(reading.sender_domain, name, terms):
            return Finding(1, f"{name} from {reading.sender_domain}")
    return NONE


def from_brand_host(reading: Reading, terms: Terms) -> Finding:
    """The sender's host carries a brand's name and is not the brand's: paypal-secure.example."""
    for name in sorted(pieces(reading.sender_domain) & terms.brands.keys()):
        if not genuine(reading.sender_domain, name, terms):
            return Finding(1, reading.sender_domain)
    return NONE


def genuine(host: str, brand: str, terms: Terms) -> bool:
    """The brand's own domain, or one that is registered under nothing but its name (ebay.it)."""
    own = registered(host).partition(".")[0] == brand
    return own or belongs(host, terms.brands[brand])


def from_freemail(reading: Reading, terms: Terms) -> Finding:
    free = reading.sender_domain in terms.among("freemail")
    return Finding(1, reading.sender_domain) if free else NONE


def reply_to_freemail(reading: Reading, terms: Terms) -> Finding:
    """Answers go to a free mailbox although the sender has a domain."""
    hosts = [domain_of(each) for each in reading.content.reply_to]
    free = [each for each in hosts if each in terms.among("freemail")]
    return Finding(float(bool(free) and reading.sender_domain not in free), free[0] if free else "")


def reply_to_elsewhere(reading: Reading, _: Terms) -> Finding:
    hosts = dict.fromkeys(domain_of(each) for each in reading.content.reply_to)
    own = registered(reading.sender_domain)
    others = [each for each in hosts if registered(each) != own]
    return Finding(len(others), others[0] if others else "")


def subject_capitals(reading: Reading, _: Terms) -> Finding:
    """Share of capitals among the letters, from twelve letters on."""
    letters = sum(map(str.isalpha, reading.subject))
    capitals = sum(map(str.isupper, reading.subject))
    return Finding(capitals / letters) if letters >= 12 else NONE


def subject_exclamations(reading: Reading, _: Terms) -> Finding:
    return Finding(reading.subject.count("!"))


def subject_spaced_out(reading: Reading, _: Terms) -> Finding:
    """V.I.A.G.R.A"""
    found = SPACED_OUT.search(reading.subject) if SEPARATED.search(reading.subject) else None
    return Finding(1, found[0]) if found else NONE


def subject_mixed(reading: Reading, _: Terms) -> Finding:
    """Words with a digit or sign inside: v1agra, ca$h."""
    if not SIGN_IN_WORD.search(reading.subject):
        return NONE
    return counted(MIXED.findall(reading.subject))


def in_thread(reading: Reading, _: Terms) -> Finding:
    """In-Reply-To or References: an answer within a conversation."""
    names = {each.name.lower() for each in reading.content.headers}
    return Finding(float(not names.isdisjoint({"in-reply-to", "references"})))


def has_replies(reading: Reading, _: Terms) -> bool:
    return bool(reading.content.reply_to)


def has_headers(reading: Reading, _: Terms) -> bool:
    return bool(reading.content.headers)


MEASURES: dict[str, Measure] = {
    each.__name__: each
    for each in (
        from_name_is_address,
        from_brand,
        from_brand_host,
        from_freemail,
        reply_to_freemail,
        reply_to_elsewhere,
        subject_capitals,
        subject_exclamations,
        subject_spaced_out,
        subject_mixed,
        in_thread,
    )
}
NEEDS: dict[str, Need] = {
    "reply_to_freemail": has_replies,
    "reply_to_elsewhere": has_replies,
    "in_thread": has_headers,
}
