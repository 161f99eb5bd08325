"""Copies of a message meet in memory, and few copies are no campaign."""

import pytest

from contracts.shield.v1.events_pb2 import Fingerprint
from services.shield.domain.campaign_index import KEYS_MAX, CampaignIndex, to_proto
from services.shield.domain.learning.fingerprints import fingerprint_of
from services.shield.domain.parsing import ParsingLimits, parse_message
from tests.unit.services.shield.samples import make_content

OFFER = "Hello {0}, our spring sale begins. All shoes and boots are half price until the end of the"
OFFER += " week, and members of the club get free shipping on top. See you in the shop soon, {0}!"


def fingerprint(text: str) -> Fingerprint:
    return to_proto(fingerprint_of(parse_message(make_content(text=text), ParsingLimits())))


def test_copies_meet_whatever_name_they_have() -> None:
    index = CampaignIndex(3)
    first = index.match("t1", fingerprint(OFFER.format("Ann")))
    assert index.match("t1", fingerprint(OFFER.format("Bob"))) is first
    assert index.match("t2", fingerprint(OFFER.format("Bob"))) is not first
    other = "Your parcel waits at the post office, please bring your passport with you to get it."
    assert index.match("t1", fingerprint(other)) is not first


def test_few_copies_are_no_campaign() -> None:
    index = CampaignIndex(3)
    seen = index.match("t1", fingerprint(OFFER))
    assert [index.is_campaign(seen, copies) for copies in (1, 2, 3)] == [False, False, True]
    seen.campaign_id = "c1"
    assert index.is_campaign(seen, 1)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert KEYS_MAX <= 200_000
    index = CampaignIndex(3)
    monkeypatch.setattr(index._by_key, "_entries_max", 16)
    found = [fingerprint(f"{word} " * 4 + OFFER[number * 9 :]) for number, word in enumerate(WORDS)]
    for one in found:
        index.match("t1", one)
    assert len(index._by_key) <= 16


WORDS = ("red", "green", "blue", "black", "white", "brown")
