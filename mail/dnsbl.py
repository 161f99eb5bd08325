"""DNS block lists: RFC 5782."""

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Annotated, NamedTuple, Protocol

from msgspec import Meta

ANSWERS = ip_network("127.0.0.0/8")
BIT_ANSWERS = IPv4Network("127.0.0.0/24")
# Spamhaus and others answer so when a query is refused: too many, or through an open resolver.
ERRORS = IPv4Network("127.255.255.0/24")
REFUSING_BIT = 1
CODES_MAX = 8  # of one answer that are kept
TEXT_CHARS = 300


class EntryKind(StrEnum):
    """What a list has entries of."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DOMAIN = "domain"


LISTED_TESTS = {EntryKind.IPV4: "127.0.0.2", EntryKind.IPV6: "::ffff:7f00:2"}  # §5
UNLISTED_TESTS = {EntryKind.IPV4: "127.0.0.1", EntryKind.IPV6: "::ffff:7f00:1"}


class ListFailure(StrEnum):
    """Why a list is of no use. unanswered: no server has answered. refused: it does not answer us.
    undocumented: an answer that means nothing, as of a zone that has moved or expired (§2.3).
    lists_nothing, lists_everything: its self-test has failed."""

    UNANSWERED = "unanswered"
    REFUSED = "refused"
    UNDOCUMENTED = "undocumented"
    LISTS_NOTHING = "lists_nothing"
    LISTS_EVERYTHING = "lists_everything"


@dataclass(frozen=True, slots=True)
class AnswerMeaning:
    """Of an answer. weight: how much a listing matters, in points of shield."""

    meaning: Annotated[str, Meta(min_length=1, max_length=200)]
    weight: Annotated[float, Meta(ge=0, le=20)]


class Answer(NamedTuple):
    """What a list says about an entry. listed: None if it says nothing, because of a failure.
    ttl_s: of the records; 0: unknown."""

    listed: bool | None
    codes: tuple[str, ...] = ()
    meaning: str = ""
    weight: float = 0.0
    failure: ListFailure | None = None
    ttl_s: float = 0.0
    text: str = ""


class Records(Protocol):
    """Of a name and type; no values: there are none."""

    @property
    def values(self) -> Sequence[str]: ...

    @property
    def ttl_s(self) -> float: ...


Query = tuple[str, str]  # name and record type
Queries = Generator[Query, Records | None, Answer]  # is sent the records; None: no answer


@dataclass(frozen=True, slots=True)
class Blocklist:
    """A list that is queried. zone, key: secret if there is a key; logs and events have the name.
    answers, bits: what they mean; any other answer is an error. link_addresses: a list of domains
    that also has IPv4 addresses."""

    name: str
    zone: str = field(repr=False)
    kinds: frozenset[EntryKind]
    answers: Mapping[str, AnswerMeaning] = field(default_factory=dict, repr=False)
    bits: Mapping[int, AnswerMeaning] = field(default_factory=dict, repr=False)
    link_addresses: bool = False
    listed_test: str = "test"
    unlisted_test: str = "invalid"
    delist: str = ""
    key: str = field(default="", repr=False)

    def has_kind_of(self, entry: str) -> bool:
        """Whether an address or a domain may be listed."""
        kind = kind_of(entry)
        return kind in self.kinds or (kind is EntryKind.IPV4 and self.link_addresses)

    def read(self, records: Records | None) -> Answer:
        """The answer of A records."""
        if records is None:
            return Answer(None, failure=ListFailure.UNANSWERED)
        codes = tuple(records.values)
        found = [self._meanings(one) for one in codes]
        if failures := [one for one in found if isinstance(one, ListFailure)]:
            return Answer(None, codes[:CODES_MAX], failure=failures[0])
        meanings = {
            one.meaning: one for each in found if not isinstance(each, ListFailure) for one in each
        }
        if not meanings:
            return Answer(False, ttl_s=records.ttl_s)
        return Answer(
            True,
            codes[:CODES_MAX],
            "; ".join(meanings),
            max(one.weight for one in meanings.values()),
            ttl_s=records.ttl_s,
        )

    def _meanings(self, code: str) -> list[AnswerMeaning] | ListFailure:
        try:
            address = IPv4Address(code)
        except ValueError:
            return ListFailure.UNDOCUMENTED
        if address in ERRORS:
            return ListFailure.REFUSED
        if self.answers:
            found = self.answers.get(code)
            return [found] if found else ListFailure.UNDOCUMENTED
        return self._meanings_of_bits(int(address) & 0xFF, is_code=address in BIT_ANSWERS)

    def _meanings_of_bits(self, octet: int, *, is_code: bool) -> list[AnswerMeaning] | ListFailure:
        if is_code and octet & REFUSING_BIT:
            return ListFailure.REFUSED
        if not is_code or not octet or octet & ~sum(self.bits):
            return ListFailure.UNDOCUMENTED
        return [meaning for bit, meaning in self.bits.items() if octet & bit]

    def tests(self) -> list[tuple[str, bool]]:
        """Its test entries, and whether they must be listed (§5)."""
        found = []
        for kind in sorted(self.kinds):
            listed = LISTED_TESTS.get(kind, self.listed_test)
            found += [(listed, True), (UNLISTED_TESTS.get(kind, self.unlisted_test), False)]
        return found

    def hide_key(self, text: str) -> str:
        """Text that others have written, bounded and without the key."""
        shown = re.sub(re.escape(self.key), "…", text, flags=re.IGNORECASE) if self.key else text
        shown = "".join(one if one.isprintable() else " " for one in shown[: 4 * TEXT_CHARS])
        return " ".join(shown.split())[:TEXT_CHARS]


def kind_of(entry: str) -> EntryKind:
    """What a list would have such an entry as."""
    try:
        return EntryKind.IPV4 if ip_address(entry).version == 4 else EntryKind.IPV6
    except ValueError:
        return EntryKind.DOMAIN


def query_name(entry: str, zone: str) -> str:
    """The name whose A records say whether a zone lists an address or a domain (§2.1, §2.4, §3)."""
    if kind_of(entry) is EntryKind.DOMAIN:
        return f"{entry}.{zone}"
    reverse = ip_address(entry).reverse_pointer
    return f"{reverse.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone}"


def look_up(blocklist: Blocklist, entry: str, *, with_text: bool = False) -> Queries:
    """The queries that find out whether a list has an entry. with_text: and why (§2.1)."""
    name = query_name(entry, blocklist.zone)
    answer = blocklist.read((yield name, "A"))
    if not (answer.listed and with_text):
        return answer
    texts = yield name, "TXT"
    return answer._replace(text=blocklist.hide_key(" ".join(texts.values) if texts else ""))


def self_test(blocklist: Blocklist) -> Generator[Query, Records | None, ListFailure | None]:
    """The queries of a self-test (§5). Returns what is wrong."""
    for entry, must_be_listed in blocklist.tests():
        answer = yield from look_up(blocklist, entry)
        if answer.failure:
            return answer.failure
        if answer.listed is not must_be_listed:
            return ListFailure.LISTS_NOTHING if must_be_listed else ListFailure.LISTS_EVERYTHING
    return None
