"""Stage 1: the words, characters and places of a message, hashed into three tables of weights.

Feature hashing (Weinberger et al. 2009). Who sends and what mail programs write are no evidence:
customers' domains are verified, and API clients quote nothing.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, pairwise
from typing import NamedTuple, TypeAlias
from zlib import crc32

import numpy as np
import numpy.typing as npt

from services.shield.domain.parsing import ParsedMessage

Buckets: TypeAlias = npt.NDArray[np.uint32]
Weights: TypeAlias = npt.NDArray[np.generic]

WORD_BITS, CHARACTER_BITS, PLACE_BITS = 18, 18, 16
WORD_BYTES, CHARACTER_BYTES = 2_500, 1_800  # more text changes no figure
SUBJECT_BYTES = 300
LINKS, PATHS, LINK_TEXT_CHARS, ATTACHMENTS = 12, 10, 100, 10
GOLDEN, SECOND = np.uint32(0x9E3779B1), np.uint32(0x85EBCA6B)  # Knuth's; murmur3's
SUBJECT_SALT = np.uint32(0x5BD1E995)
LAST_OF_FOUR = np.uint32(24)
CACHED = 2048  # names, hosts, paths and link texts, which copies of a mail have in common

# Digits are 0 here. A sign before an amount is that of dollars, pounds or euros in UTF-8.
WORD = re.compile(
    rb"(?:\$|\xc2\xa3|\xe2\x82\xac) ?0(?:[0.,]{0,12}0)?|[a-z\x80-\xff']{2,24}|[!?$]{1,6}"
)
NAME = re.compile(r"[^\W\d_]{2,24}")
LABEL = re.compile(r"[a-z0-9]{1,24}")
DIGITS_AS_0 = bytes.maketrans(b"123456789", b"000000000")
KEPT = b"abcdefghijklmnopqrstuvwxyz$!?@%.:/0" + bytes(range(128, 256))
ONLY_KEPT = bytes(each if each in KEPT else 32 for each in range(256))


class NamedFeatures(NamedTuple):
    """Entries in the words of the message, with their buckets."""

    names: Sequence[str]
    buckets: Buckets


class HashedFeatures(NamedTuple):
    """The distinct buckets of a message in each table."""

    words: Buckets
    characters: Buckets
    places: Buckets


def text_entries(message: ParsedMessage) -> HashedFeatures:
    subject, body = lower_texts(message)
    words = [*of_subject(WORD.findall(subject)), *of_words(WORD.findall(body))]
    places = hashes([each.encode() for each in place_names(message)])
    return HashedFeatures(
        distinct(fold(np.concatenate(words), WORD_BITS)),
        distinct(fold(grams(subject + b"  " + body[:CHARACTER_BYTES]), CHARACTER_BITS)),
        distinct(fold(places, PLACE_BITS)),
    )


def lower_texts(message: ParsedMessage) -> tuple[bytes, bytes]:
    """Subject and body in lower case, with every digit as 0."""
    subject = message.subject[:SUBJECT_BYTES].lower().encode()[:SUBJECT_BYTES]
    body = message.longer_text[:WORD_BYTES].lower().encode()[:WORD_BYTES]
    return subject.translate(DIGITS_AS_0), body.translate(DIGITS_AS_0)


def of_subject(words: Sequence[bytes]) -> list[Buckets]:
    """The words of the subject count as words of the message, and again as the subject's."""
    plain = hashes(words)
    return [plain, (plain ^ SUBJECT_SALT) * SECOND, pairs(plain)]


def of_words(words: Sequence[bytes]) -> list[Buckets]:
    plain = hashes(words)
    return [plain, pairs(plain)]


def hashes(words: Sequence[bytes]) -> Buckets:
    return np.fromiter(map(crc32, words), np.uint32, len(words))


def pairs(words: Buckets) -> Buckets:
    """Neighbouring words."""
    return words[:-1] * SECOND + words[1:]


def grams(text: bytes) -> Buckets:
    """Runs of four and of five characters; whatever is no letter and no telling sign is a blank."""
    letters = b" ".join(text.translate(ONLY_KEPT).split())
    if len(letters) < 5:
        return np.zeros(0, np.uint32)
    four: Buckets = np.ndarray((len(letters) - 3,), "<u4", letters, strides=(1,)).copy()
    return np.concatenate([four, four[:-1] * SECOND ^ (four[1:] >> LAST_OF_FOUR) * GOLDEN])


def fold(found: Buckets, bits: int) -> Buckets:
    """Buckets in a table of 2^bits: the upper bits of a product (Knuth, TAOCP 6.4)."""
    return found * GOLDEN >> np.uint32(32 - bits)


def distinct(buckets: Buckets) -> Buckets:
    """As numpy.unique, in a third of the time."""
    ordered = np.sort(buckets)
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def place_names(message: ParsedMessage) -> list[str]:
    """Words with the place where they stand, each once: sender's name, hosts, paths, link texts and
    files."""
    links = [each for each in message.links if each.target.host]
    hosts = dict.fromkeys(each.target.host for each in links[:LINKS])
    paths = dict.fromkeys(path_of(each.url) for each in links[:PATHS])
    texts = dict.fromkeys(text[:LINK_TEXT_CHARS] for _, text in message.page.links[:LINKS])
    name = message.sender.partition("<")[0] if "<" in message.sender else ""
    files = [file_names(e.content_type, e.filename) for e in message.attachments[:ATTACHMENTS]]
    places = chain(
        [words_at("name", name[:LINK_TEXT_CHARS])],
        map(host_names, hosts),
        map(path_names, paths),
        [words_at("link", each) for each in texts],
        files,
    )
    return list(dict.fromkeys(chain.from_iterable(places)))


@lru_cache(maxsize=CACHED)
def words_at(place: str, text: str) -> Sequence[str]:
    return tuple(f"{place}:{each}" for each in NAME.findall(text.lower()))


@lru_cache(maxsize=CACHED)
def host_names(host: str) -> Sequence[str]:
    """The labels of a host, and its top-level domain as such."""
    labels = [*masked(host)[:6], "." + host.rpartition(".")[2]]
    return tuple(f"host:{each}" for each in labels)


def path_of(url: str) -> str:
    return url.partition("://")[2].partition("/")[2].partition("?")[0][:LINK_TEXT_CHARS]


@lru_cache(maxsize=CACHED)
def path_names(path: str) -> Sequence[str]:
    last = extension(path.rpartition("/")[2])
    words = [*masked(path)[:8], *(["." + last] if last else [])]
    return tuple(f"path:{each}" for each in words)


def file_names(content_type: str, filename: str) -> Sequence[str]:
    return [f"file:{each}" for each in (content_type.lower(), extension(filename))]


def masked(text: str) -> list[str]:
    return LABEL.findall(text.encode().translate(DIGITS_AS_0).decode())


def extension(name: str) -> str:
    end = name.rpartition(".")[2] if "." in name else ""
    return end.lower() if len(end) <= 5 else ""


def weighted_sum(
    tables: Sequence[Weights], scales: Sequence[float], entries: Sequence[Buckets]
) -> float:
    """The weights of the entries of each table, divided by the root of their number."""
    return float(
        sum(
            scale * float(table[found].sum(dtype=np.float64)) / max(1.0, len(found) ** 0.5)
            for table, scale, found in zip(tables, scales, entries, strict=True)
        )
    )


def named_words(message: ParsedMessage) -> NamedFeatures:
    """Words of the subject and the body, and pairs of neighbours."""
    subject, body = lower_texts(message)
    names: list[str] = []
    found: list[Buckets] = []
    for words in (WORD.findall(subject), WORD.findall(body)):
        texts = [each.decode(errors="replace").strip() for each in words]
        names += [*texts, *map(" ".join, pairwise(texts))]
        found += of_words(words)
    return NamedFeatures(names, fold(np.concatenate(found), WORD_BITS))


def named_places(message: ParsedMessage) -> NamedFeatures:
    names = place_names(message)
    found = fold(hashes([each.encode() for each in names]), PLACE_BITS)
    return NamedFeatures([each.replace(":", " ", 1) for each in names], found)
