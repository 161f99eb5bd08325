"""Copies of a mail are one campaign, other mail is not."""

from collections.abc import Iterable, Iterator
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.shield_model.made import made_mail
from contracts.ingest.v1.content_pb2 import Attachment, Content
from services.shield.domain.learning.fingerprints import (
    CandidateCampaign,
    Fingerprint,
    find_campaign,
    new_campaign_id,
    similarity,
)
from tests.unit.services.shield.learning.copies import (
    are_one_campaign,
    fingerprint,
    personalised,
)
from tests.unit.services.shield.samples import make_content

TEXT = (
    "Dear {name}, thank you for your order {code}. We have packed it today and it leaves our "
    "warehouse in the evening. You can follow it here: https://shop.example/track/{code}. If "
    "something is missing, reply to this mail within two weeks and we will send it again. Your "
    "total was {amount}. With kind regards, the people who packed it for {name}"
)


def copy(name: str, code: str, amount: str) -> Fingerprint:
    text = TEXT.format(name=name, code=code, amount=amount)
    return fingerprint(make_content(text=text))


def made(count: int) -> Iterator[Content]:
    return (content for _, _, content in made_mail(count, seed=11))


def test_personalised_copies_are_one_campaign() -> None:
    ada = copy("Ada Lovelace", "A7-11-Q", "€ 12.90")
    assert are_one_campaign(ada, copy("Jean-Pierre O'Neill", "B99-4", "€ 1,204.00"))


def test_personalised_copies_of_made_mail_are_one_campaign() -> None:
    contents = list(made(440))
    pairs = [(fingerprint(each), fingerprint(personalised(each, n)))
             for n, each in enumerate(contents)]  # fmt: skip
    together = sum(are_one_campaign(*each) for each in pairs)
    assert together >= 0.97 * len(pairs)


def test_mail_of_other_kinds_is_another_campaign() -> None:
    """44 kinds, one of each."""
    pairs = list(combinations(map(fingerprint, made(44)), 2))
    assert sum(are_one_campaign(*each) for each in pairs) <= 0.002 * len(pairs)


def test_a_name_in_capitals_and_words_in_capitals_differ_in_nothing() -> None:
    one = fingerprint(make_content(text="YOU HAVE WON A PRIZE OF THE SPANISH LOTTERY TODAY, ADA"))
    other = fingerprint(make_content(text="YOU HAVE WON A PRIZE OF THE SPANISH LOTTERY TODAY, BOB"))
    assert are_one_campaign(one, other)


def test_mail_without_text_is_compared_by_its_structure() -> None:
    def picture(number: int, name: str) -> Fingerprint:
        link = f"https://x{number}.example/offer/{'ab1' * number}"
        return fingerprint(
            make_content("Our offer", html=f'<a href="{link}"><img src="{name}"></a>')
        )

    assert are_one_campaign(picture(5, "a.png"), picture(5, "b.png"))
    assert not are_one_campaign(picture(5, "a.png"), picture(6, "a.png"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("call (202) 555-0143 now", "ring us: +1 202 555 0143."),
        (
            "pay to bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
            "send it: bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq!",
        ),
        (
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "wallet 0x52908400098527886E0F7030069857D2E4169EE7 is ours",
        ),
    ],
)
def test_other_words_with_the_same_contact_share_a_trace(one: str, other: str) -> None:
    traces = [set(fingerprint(make_content(text=each)).traces) for each in (one, other)]
    assert traces[0] & traces[1]


def test_attachments_and_foreign_links_are_traces() -> None:
    file = Attachment(filename="a.pdf", content=b"%PDF")
    text = "see https://drop.example/f/123 and https://acme.example/home"
    found = fingerprint(make_content(text=text, attachments=(file,)))
    other = fingerprint(make_content(text="https://drop.example/f/9", attachments=(file,)))
    assert found.traces == other.traces
    assert [each.partition(":")[0] for each in found.traces] == ["links", "file"]
    assert fingerprint(make_content(text="https://acme.example/home")).traces == ()


def test_two_processes_name_a_campaign_alike() -> None:
    found = copy("Ada", "1", "2")
    assert new_campaign_id("t", found) == new_campaign_id("t", found)
    assert new_campaign_id("t", found) != new_campaign_id("u", found)


def test_the_most_similar_campaign_is_found() -> None:
    found = copy("Ada", "1", "2")
    half = found.content[:72] + bytes(56)
    candidates = [CandidateCampaign("half", half), CandidateCampaign("same", found.content)]
    assert find_campaign(found, candidates) == "same"
    assert find_campaign(found, [CandidateCampaign("other", bytes(128))]) is None
    assert find_campaign(found, []) is None


def test_similarity_is_the_share_of_equal_values() -> None:
    assert similarity(b"\1" * 128, b"\1" * 64 + b"\2" * 64) == 0.5
    assert similarity(b"", b"") == 1
    assert similarity(b"", b"\1" * 128) == 0


def sizes(found: Fingerprint) -> Iterable[int]:
    return len(found.content), len(found.structure), len(found.traces)


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # as in any Content


@settings(deadline=None)
@given(text=ANY_TEXT, html=ANY_TEXT, name=ANY_TEXT, subject=ANY_TEXT)
def test_any_mail_has_a_small_fingerprint(text: str, html: str, name: str, subject: str) -> None:
    file = Attachment(filename=name, content=html.encode())
    content = make_content(subject, text=text * 50, html=html * 50, attachments=(file,) * 30)
    content_bytes, structure_chars, traces = sizes(fingerprint(content))
    assert content_bytes in (0, 128)
    assert structure_chars == 16
    assert traces <= 15
