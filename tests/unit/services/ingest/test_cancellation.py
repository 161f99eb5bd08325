"""Cancel by a filter: what matches, page by page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from contracts.ingest.v1.events_pb2 import MessageContext
from mail.address import AddressError
from services.ingest.api.cancellation import CHUNK, cancel_matching
from services.ingest.domain.waiting_filter import WaitingFilter

PAGE = 4


def context(number: int, **fields: object) -> MessageContext:
    given = {"message_id": f"m{number:04}", "email_id": f"e{number}", "sender": "news@shop.test"}
    return MessageContext(**{**given, "recipient": f"u{number}@a.test", **fields})  # type: ignore[arg-type]


@dataclass
class StoredMail:
    """Messages by id, in pages of a few; canceled ones no longer wait."""

    waiting: dict[str, MessageContext]
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    too_late: frozenset[str] = frozenset()
    calls: list[int] = field(default_factory=list)
    site: str = "site"
    page: int = PAGE

    async def read_page(self, after: str) -> tuple[Sequence[tuple[MessageContext, str]], str]:
        ids = sorted(one for one in self.waiting if one > after)[: self.page]
        following = ids[-1] if len(ids) == self.page else ""
        return [(self.waiting[one], self.site) for one in ids], following

    async def cancel(self, contexts: Sequence[MessageContext]) -> int:
        self.calls.append(len(contexts))
        done = [one for one in contexts if one.message_id not in self.too_late]
        for one in done:
            del self.waiting[one.message_id]
        return len(done)

    async def tags_of(self, email_ids: Iterable[str]) -> Mapping[str, Mapping[str, str]]:
        return {one: self.tags[one] for one in email_ids if one in self.tags}


def stored(*contexts: MessageContext, **fields: object) -> StoredMail:
    return StoredMail({one.message_id: one for one in contexts}, **fields)  # type: ignore[arg-type]


async def test_all_pages_are_read_and_only_what_matches_is_canceled() -> None:
    domains = ("a.test", "b.test")
    mail = stored(*(context(n, recipient=f"u@{domains[n % 2]}") for n in range(11)))
    page = await cancel_matching(mail, WaitingFilter(recipient_domain="b.test"))
    assert (page.matched, page.canceled, page.next) == (5, 5, "")
    assert {one.recipient for one in mail.waiting.values()} == {"u@a.test"}
    again = await cancel_matching(mail, WaitingFilter(recipient_domain="b.test"))
    assert (again.matched, again.canceled) == (0, 0)


async def test_a_dry_run_counts_and_cancels_nothing() -> None:
    mail = stored(*map(context, range(6)))
    page = await cancel_matching(mail, WaitingFilter(sender="shop.test"), dry_run=True)
    assert (page.matched, page.canceled, len(mail.waiting), mail.calls) == (6, 0, 6, [])


async def test_messages_whose_delivery_starts_meanwhile_count_as_matched_only() -> None:
    mail = stored(*map(context, range(3)), too_late=frozenset({"m0001"}))
    page = await cancel_matching(mail, WaitingFilter())
    assert (page.matched, page.canceled) == (3, 2)


async def test_a_large_page_is_canceled_in_chunks() -> None:
    mail = stored(*map(context, range(CHUNK + 1)), page=CHUNK * 2)
    assert (await cancel_matching(mail, WaitingFilter())).canceled == CHUNK + 1
    assert mail.calls == [CHUNK, 1]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [(("campaign", None), {"m0001", "m0002"}), (("campaign", "spring"), {"m0001"})],
)
async def test_tags_are_those_of_the_email(tag: tuple[str, str | None], expected: set[str]) -> None:
    tags = {"e1": {"campaign": "spring"}, "e2": {"campaign": "autumn"}, "e3": {"other": "spring"}}
    mail = stored(*map(context, range(5)), tags=tags)
    before = set(mail.waiting)
    await cancel_matching(mail, WaitingFilter(tag=tag))
    assert before - set(mail.waiting) == expected


def wanted_by(recipient_domain: str = "", sender: str = "", site: str = "") -> WaitingFilter:
    return WaitingFilter.parse(
        recipient_domain=recipient_domain, sender=sender, site=site, tag=None
    )


@pytest.mark.parametrize("sender", ["Ann@b\u00fccher.example", "xn--bcher-kva.example"])
@pytest.mark.parametrize("written", ["ann@b\u00fccher.example", "Ann@xn--bcher-kva.example"])
def test_the_case_and_the_form_of_a_domain_do_not_matter(sender: str, written: str) -> None:
    assert wanted_by(sender=sender).matches(context(1, sender=written), "site")


@pytest.mark.parametrize("field", ["recipient_domain", "sender"])
@pytest.mark.parametrize("text", ["a..b", "-", "\0", "x" * 300, "a b", "@", "\u202e"])
def test_what_is_no_domain_is_refused(field: str, text: str) -> None:
    with pytest.raises(AddressError):
        wanted_by(**{field: text})


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (WaitingFilter(), True),
        (WaitingFilter(sender="news@shop.test"), True),
        (WaitingFilter(sender="shop.test", recipient_domain="a.test", site="site"), True),
        (wanted_by(sender="News@SHOP.test"), True),
        (wanted_by(recipient_domain="A.test", site="Site"), True),
        (WaitingFilter(sender="op.test"), False),
        (WaitingFilter(recipient_domain="test"), False),
        (WaitingFilter(site="other"), False),
        (WaitingFilter(test_only=True), False),
    ],
)
def test_every_part_of_a_filter_must_match(wanted: WaitingFilter, *, matches: bool) -> None:
    assert wanted.matches(context(1), "site") is matches
