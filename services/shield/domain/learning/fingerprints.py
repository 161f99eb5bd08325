"""Which messages are one campaign: personalised copies of one mail.

The visible text as MinHash (Broder 1997) of its shingles of four words, 32 values in 8 bands of 4:
copies that share 80 % of their shingles meet in a band with 98 %, unrelated mail with less than
0.1 %. Words with a capital or a digit do not count, because names, codes and amounts are what
differs between copies. Mail without text is compared by how it is built.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import re2

from services.shield.domain.links import MessageLink, registered_domain
from services.shield.domain.model.text import CACHED, Buckets, hashes
from services.shield.domain.parsing import ParsedMessage

VALUES, BANDS, SHINGLE_WORDS = 32, 8, 4
TEXT_BYTES, WORDS = 4_000, 500  # as much as tells copies from others
LINKS, TAGS, ATTACHMENTS, CONTACTS = 12, 200, 10, 4
ATTACHED_BYTES = 1 << 20  # hashed of all attachments
SIMILAR = 0.5  # share of equal values from which two texts are copies
KEY_BYTES = 8
PLAIN_SHARE_MIN = 0.1  # of the words; below it the text is in capitals

# A word with one of these is left out: capitals, digits, and what is in addresses.
DIFFERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@/"
MASKED = ord("0")
MASK = bytes.maketrans(DIFFERS, bytes([MASKED]) * len(DIFFERS))
PUNCTUATION = b".,;:!?()[]<>{}\"*_=|#~'`-"

MULTIPLIERS = np.arange(1, 2 * VALUES, 2, dtype=np.uint32) * np.uint32(0x9E3779B1)  # odd
SUMMANDS = np.arange(VALUES, dtype=np.uint32) * np.uint32(0x85EBCA6B)
WORD_FACTOR, MIX = np.uint32(0x01000193), np.uint32(0xC2B2AE35)  # FNV's; murmur3's

DIFFERS_IN_PATH = re.compile(r"[^/]*(?:\d|[^/]{16})[^/]*")
CONTACT = re2.compile(
    rb"(?:\+|\(|\b)\d[\d ().-]{7,16}\d\b"  # telephone numbers
    rb"|\b(?:bc1[a-z0-9]{25,60}|[13][a-km-zA-HJ-NP-Z1-9]{25,34})\b"  # Bitcoin
    rb"|\b0x[0-9a-fA-F]{40}\b"  # Ethereum
)
DIGITS = b"0123456789"
NOT_DIGITS = bytes(each for each in range(256) if each not in DIGITS)
PHONE_DIGITS = 9  # the last ones: with or without the country

Values = npt.NDArray[np.uint32]


class Fingerprint(NamedTuple):
    """content: 32 values of 4 bytes, little-endian; empty without text. structure: a key of subject
    and markup. traces: what other campaigns of the same people have too, as `kind:key`: where
    foreign links lead, attachments, telephone numbers and wallets. Nothing gives the text away."""

    content: bytes
    structure: str
    traces: tuple[str, ...]


class CandidateCampaign(NamedTuple):
    """A campaign that shares a key with a message, and the content of its first message."""

    campaign_id: str
    content: bytes


def fingerprint_of(message: ParsedMessage) -> Fingerprint:
    shapes = sorted({link_shape(each) for each in message.links[:LINKS] if each.target.host})
    files = attachment_keys(message)
    tags = ",".join(message.page.tags[:TAGS])
    subject = b" ".join(plain_words(message.subject.encode())).decode(errors="replace")
    return Fingerprint(
        content=content_of(message.longer_text),
        structure=key_of([subject, tags, *shapes, *files]),
        traces=(
            *foreign_links(message),
            *(f"file:{each}" for each in files),
            *contacts(message.longer_text),
        ),
    )


def campaign_keys(found: Fingerprint) -> list[str]:
    """Messages of a tenant that share one of these may be of one campaign."""
    if not found.content:
        return [f"structure:{found.structure}"]
    bands = np.frombuffer(found.content, "<u4").reshape(BANDS, -1)
    return [f"{number}:{band.tobytes().hex()}" for number, band in enumerate(bands)]


def find_campaign(found: Fingerprint, candidates: Iterable[CandidateCampaign]) -> str | None:
    """The candidate that is most like the message. It has at least half of its shingles."""
    rated = [(-similarity(found.content, each.content), each.campaign_id) for each in candidates]
    best = min(rated, default=(0.0, ""))
    return best[1] if -best[0] >= SIMILAR else None


def new_campaign_id(tenant_id: str, found: Fingerprint) -> str:
    """The same for the same message, so that two processes give one campaign one id."""
    return key_of([tenant_id, *campaign_keys(found)], size=16)


def similarity(one: bytes, other: bytes) -> float:
    """An estimate of the share of shingles that two texts have in common."""
    if not (one and other):
        return float(one == other)
    return float(np.mean(np.frombuffer(one, "<u4") == np.frombuffer(other, "<u4")))


def content_of(text: str) -> bytes:
    words = plain_words(text[:TEXT_BYTES].encode()[:TEXT_BYTES])
    if len(words) < SHINGLE_WORDS:
        return b""
    return min_hash(shingles(hashes(words))).astype("<u4").tobytes()


def plain_words(text: bytes) -> list[bytes]:
    """Words in small letters. If there are hardly any, the text is in capitals, and all count."""
    words = text.translate(MASK, PUNCTUATION).split()
    plain = [each for each in words if MASKED not in each]
    if len(plain) < max(SHINGLE_WORDS, PLAIN_SHARE_MIN * len(words)):
        words = text.lower().translate(MASK, PUNCTUATION).split()
        plain = [each for each in words if MASKED not in each]
    return plain[:WORDS]


def shingles(words: Buckets) -> Values:
    count = len(words) - SHINGLE_WORDS + 1
    found = words[:count]
    for place in range(1, SHINGLE_WORDS):
        found = found * WORD_FACTOR ^ words[place : place + count]
    return found * MIX ^ found >> np.uint32(15)


def min_hash(found: Values) -> Values:
    """The least value of each of 32 permutations. 4,000 bytes have at most 500 words."""
    least: Values = (found * MULTIPLIERS[:, None] + SUMMANDS[:, None]).min(axis=1)
    return least


def link_shape(link: MessageLink) -> str:
    """The domain and the path; parts that are long or have digits differ from copy to copy."""
    path = link.url.partition("://")[2].partition("/")[2].partition("?")[0]
    return f"{link.target.domain}/{path_shape(path)}"


@lru_cache(maxsize=CACHED)
def path_shape(path: str) -> str:
    """Cached, because the copies of a mail have most of their links in common."""
    return DIFFERS_IN_PATH.sub("*", path)


def foreign_links(message: ParsedMessage) -> list[str]:
    """Where links lead away from the sender's domain, as one trace."""
    own = registered_domain(message.sender_domain)
    away = [e for e in message.links[:LINKS] if e.target.host and e.target.domain != own]
    return [f"links:{key_of(sorted({link_shape(each) for each in away}))}"] if away else []


def attachment_keys(message: ParsedMessage) -> list[str]:
    """Of the content of each attachment, up to a megabyte in all."""
    keys, left = [], ATTACHED_BYTES
    for each in message.attachments[:ATTACHMENTS]:
        content = each.content
        if len(content) > left:
            break
        left -= len(content)
        keys.append(blake2b(content, digest_size=KEY_BYTES).hexdigest())
    return keys


def contacts(text: str) -> list[str]:
    """Telephone numbers by their last digits, and wallets."""
    encoded = text[:TEXT_BYTES].encode()
    found = dict.fromkeys(map(contact_name, CONTACT.findall(encoded)))
    return [f"contact:{key_of([each])}" for each in list(found)[:CONTACTS]]


def contact_name(contact: bytes) -> str:
    if contact.translate(None, DIGITS + b"+ ().-"):
        return contact.decode()
    return contact.translate(None, NOT_DIGITS)[-PHONE_DIGITS:].decode()


def key_of(parts: Sequence[str], *, size: int = KEY_BYTES) -> str:
    return blake2b("\n".join(parts).encode(), digest_size=size).hexdigest()
