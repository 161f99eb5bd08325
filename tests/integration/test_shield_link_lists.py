"""Links of mail in block lists, with a real name server on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from contracts.ingest.v1.content_pb2 import Content
from contracts.shield.v1.events_pb2 import Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from kernel.resolver import system_resolver
from kernel.rpc import RpcError
from mail.blocklists import parse_blocklists, select
from mail.dnsbl_health import ListHealth
from services.shield.clients.link_lists import LinkBlockLists
from tests.integration.test_shield import ShieldHarness
from tests.support.name_server import SERVFAIL, SILENT, NameServer, name_server
from tests.support.stack import FreshDatabase

HOLD, PASS = Verdict.VERDICT_HOLD, Verdict.VERDICT_PASS
PHISHING: dict[str, list[str]] = {"A": ["127.0.0.8"]}
LISTS = """
[[list]]
name = "multi"
zone = "multi.example"
kinds = ["domain"]
link_addresses = true
terms = "The test's."
[list.bits]
8 = { weight = 8.0, meaning = "a phishing site" }
64 = { weight = 6.0, meaning = "a site in spam" }
[[list]]
name = "other"
zone = "other.example"
kinds = ["domain"]
terms = "The test's."
[list.answers]
"127.0.1.2" = { weight = 6.0, meaning = "a domain of spammers" }
"""
TESTS = {"test.multi.example": {"A": ["127.0.0.72"]}, "test.other.example": {"A": ["127.0.1.2"]}}
WITHIN_S = 240.0
Records = dict[str, dict[str, list[str]] | str]


@asynccontextmanager
async def link_lists(
    records: Records, *, wait_s: float = 30.0, names: tuple[str, ...] = ("multi", "other")
) -> AsyncIterator[tuple[LinkBlockLists, NameServer, ListHealth]]:
    """wait_s: longer than any answer takes, unless a test is about it."""
    async with name_server(records) as (server, address):
        resolver = system_resolver((address,), timeout_s=3.0)
        health = ListHealth(select(parse_blocklists("", LISTS), names=names))
        lists = LinkBlockLists(resolver, health, wait_s=wait_s)
        try:
            await lists.test_due()
            yield lists, server, health
        finally:
            await lists.close()


def screening(*hosts: str, sender: str = "") -> ScoreResponse:
    return ScoreResponse(
        verdict=PASS, score=-3.0, hold_score=5.0, block_score=10.0,
        link_hosts=hosts, sender_domain=sender,
    )  # fmt: skip


async def weighed(lists: LinkBlockLists, *hosts: str, sender: str = "") -> ScoreResponse:
    found = screening(*hosts, sender=sender)
    await lists.weigh([found])
    return found


async def test_a_batch_has_one_lookup_of_each_name_that_is_not_known() -> None:
    records: Records = {**TESTS, "bad.com.multi.example": PHISHING}
    async with link_lists(records) as (lists, server, _):
        server.queried_names.clear()
        batch = [
            screening("www.bad.com", "fine.com"), screening("fine.com"),
            screening("img.bad.com", sender="fine.com"), screening(),
        ]  # fmt: skip
        await lists.weigh(batch)
        assert [one.verdict for one in batch] == [HOLD, PASS, HOLD, PASS]
        queried = [one for one in server.queried_names if not one.startswith(("test.", "invalid."))]
        assert sorted(queried) == [
            "bad.com.multi.example", "bad.com.other.example",
            "fine.com.multi.example", "fine.com.other.example",
        ]  # fmt: skip
        server.queried_names.clear()
        assert (await weighed(lists, "bad.com", "fine.com")).verdict == HOLD
        assert server.queried_names == []
    assert batch[0].reasons[0].detail == "bad.com in multi: a phishing site"
    assert not batch[0].link_hosts


async def test_addresses_and_senders_are_looked_up_where_lists_have_them() -> None:
    records: Records = {
        **TESTS, "7.2.0.192.multi.example": PHISHING, "spam.com.other.example": {"A": ["127.0.1.2"]}
    }  # fmt: skip
    async with link_lists(records) as (lists, server, _):
        assert (await weighed(lists, "192.0.2.7")).verdict == HOLD
        assert "7.2.0.192.other.example" not in server.queried_names
        by_sender = await weighed(lists, sender="news.spam.com")
        assert (by_sender.verdict, by_sender.reasons[0].rule) == (HOLD, "sender_listed")


@pytest.mark.parametrize("answer", [SERVFAIL, {"A": ["127.255.255.254"]}, {"A": ["203.0.113.9"]}])
async def test_what_is_no_answer_holds_nothing(answer: dict[str, list[str]] | str) -> None:
    records: Records = {**TESTS, "bad.com.multi.example": answer}
    async with link_lists(records) as (lists, _, health):
        assert (await weighed(lists, "bad.com")).verdict == PASS
        assert health.is_usable("multi") is (answer == SERVFAIL)
        assert health.is_usable("other")


async def test_mail_passes_while_a_list_is_silent_and_later_mail_finds_its_answer() -> None:
    records: Records = {**TESTS, "bad.com.multi.example": SILENT}
    async with link_lists(records, wait_s=0.01, names=("multi",)) as (lists, _, __):
        assert (await weighed(lists, "bad.com")).verdict == PASS
        records["bad.com.multi.example"] = PHISHING  # the lookup goes on
        async with asyncio.timeout(WITHIN_S):
            while (await weighed(lists, "bad.com")).verdict == PASS:
                await asyncio.sleep(0.05)


async def test_a_list_that_stays_silent_is_out_of_use() -> None:
    names = [f"d{number}.com" for number in range(5)]
    records: Records = {**TESTS, **{f"{one}.multi.example": SERVFAIL for one in names}}
    async with link_lists(records) as (lists, server, health):
        await weighed(lists, *names)
        assert not health.is_usable("multi")
        server.queried_names.clear()
        await weighed(lists, "new.com")
        assert server.queried_names == ["new.com.other.example"]


async def test_a_list_that_has_died_and_lists_everything_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.shield.clients.link_lists.TEST_AGE_S", -1.0)
    records: Records = {**TESTS, "bad.com.multi.example": PHISHING}
    async with link_lists(records) as (lists, _, health):
        records["invalid.multi.example"] = PHISHING
        assert (await weighed(lists, "bad.com")).verdict == PASS
        assert (health.is_usable("multi"), health.is_usable("other")) == (False, True)


async def test_a_list_without_a_self_test_is_never_queried() -> None:
    records: Records = {"bad.com.multi.example": PHISHING}
    async with link_lists(records) as (lists, server, _):
        assert (await weighed(lists, "bad.com")).verdict == PASS
        assert "bad.com.multi.example" not in server.queried_names


async def test_names_that_leave_no_room_for_a_zone_are_left_out() -> None:
    async with link_lists(dict(TESTS)) as (lists, _, health):
        long = [f"{'a' * 62}.{'b' * 62}{number}.com" for number in range(9)]
        assert (await weighed(lists, *long)).verdict == PASS
        assert health.is_usable("multi")


async def held_score(harness: ShieldHarness, content: Content) -> ScoreResponse:
    """The dry run of a content, once the lists have passed their self-tests."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            with suppress(RpcError):
                if (scored := await harness.score(content)).verdict != PASS:
                    return scored
            await asyncio.sleep(0.2)


async def test_mail_with_a_listed_link_is_held_and_a_dry_run_shows_it(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> None:
    (tmp_path / "lists.toml").write_text(LISTS)
    records: Records = {**TESTS, "bad.com.multi.example": PHISHING}
    async with name_server(records) as (_, address):
        harness = ShieldHarness(bootstrap_servers, topic_prefix, tmp_path / "content", database)
        lists = {
            "blocklists_file": str(tmp_path / "lists.toml"), "nameservers": (address,),
            "link_listing_wait_s": 30.0,
        }  # fmt: skip
        harness.settings = harness.settings.model_copy(update=lists)
        async with harness.running():
            content = Content(subject="Hello", text="See https://www.bad.com/x, dear customer.")
            scored = await held_score(harness, content)
            assert "link_listed" in {one.rule for one in scored.reasons}
            assert not scored.link_hosts
            bad = await harness.accepted(content.text)
            good = await harness.accepted("See https://fine.com/x, dear customer.")
            await harness.publish(harness.tenant, bad, good)
            screened = await harness.screened(count=2)
            assert screened[good.message_id].verdict == PASS
            held = screened[bad.message_id]
            assert (held.verdict, held.score) == (HOLD, 8.0)
            assert held.reasons[0].detail == "bad.com in multi: a phishing site"
