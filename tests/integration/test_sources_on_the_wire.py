"""Several egress sources at a server that counts and blocks each of them: router and delivery
together."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.policies_pb2 import OverrideRemoved, OverrideSet, PolicyCommand
from services.router.domain import overrides
from services.router.loops.scheduler import SOURCES_INTERVAL_S
from tests.support.delivery import Harness
from tests.support.pipeline import ROUTE, Pipeline
from tests.support.router import RouterHarness
from tests.support.smtp_peer import SmtpPeer
from tests.support.sources import open_sources
from tests.support.stack import FreshDatabase

OLD, NEW, OTHER = "127.0.0.71", "127.0.0.72", "127.0.0.73"
RAMPS = """
[[ramp]]
name = "tiny"
per = "hour"
stages = [3, 9]
source = "the test"
"""
FEEDBACK = """
[[rule]]
name = "blocked"
classes = ["spam_block"]
action = "suspend_site"
threshold = 2
duration_s = 3600
source = "the test"
"""
BLOCKED = b"451 4.7.1 Your IP is blocked"


class SourcesPipeline(Pipeline):
    """With the sources OLD, NEW and OTHER."""

    def __init__(self, router: RouterHarness, delivery: Harness, peer: SmtpPeer) -> None:
        super().__init__(router, delivery, peer)
        self.ids: dict[str, str] = {}  # of the sources, by address

    async def add_sources(
        self, *, ramp: str = "", warming: Sequence[str] = (NEW,), overflow: Sequence[str] = ()
    ) -> None:
        """ramp: of the warmups. overflow: sources of another pool, to which the first overflows."""
        async with open_sources(self.router.settings) as sources:
            await sources.remove_all()
            if overflow:
                await sources.pools.add("shared")
                await sources.pools.change("default", overflow_id="shared")
            for address in (OLD, NEW, OTHER):
                added = await sources.add(
                    [address],
                    pool="shared" if address in overflow else "default",
                    ehlo="out.test",
                    ramp=ramp if address in warming else "",
                )
                self.ids[address] = added.egress_id


@pytest.fixture
def make_pipeline(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> Iterator[Callable[[SmtpPeer], SourcesPipeline]]:
    def make(peer: SmtpPeer) -> SourcesPipeline:
        files = {"ramps_file": RAMPS, "feedback_file": FEEDBACK}
        files["routes_file"] = ROUTE.format(address=peer.address)
        for name, text in files.items():
            (tmp_path / f"{name}.toml").write_text(text)
        extra = {name: str(tmp_path / f"{name}.toml") for name in files}
        router = RouterHarness(bootstrap_servers, topic_prefix, database, tmp_path)
        router.extra = {**extra, "retry_schedule_s": (0.5,)}
        delivery = Harness(bootstrap_servers, topic_prefix, database, tmp_path)
        return SourcesPipeline(router, delivery, peer)

    yield make
    with database.connect() as connection:  # what a test leaves waiting, the next would try again
        connection.execute("DELETE FROM router.messages")


async def test_a_new_source_keeps_its_allowance_and_warm_ones_take_the_rest(
    make_pipeline: Callable[[SmtpPeer], SourcesPipeline],
) -> None:
    async with SmtpPeer() as peer:
        pipeline = make_pipeline(peer)
        await pipeline.add_sources(ramp="tiny")
        async with pipeline.running():
            await pipeline.send(30)
            await pipeline.wait_for_messages(30)
        assert peer.sources()[NEW] == 3  # an hour
        async with pipeline.running():  # another scheduler
            await pipeline.send(12)
            await pipeline.wait_for_messages(42)
        sources = peer.sources()
        assert sources[NEW] == 3
        assert sources[OLD] + sources[OTHER] == 39


async def test_mail_overflows_to_warm_sources_of_another_pool(
    make_pipeline: Callable[[SmtpPeer], SourcesPipeline],
) -> None:
    async with SmtpPeer() as peer:
        pipeline = make_pipeline(peer)
        await pipeline.add_sources(ramp="tiny", warming=(NEW, OTHER), overflow=(OLD, OTHER))
        async with pipeline.running():
            await pipeline.send(30)
            await pipeline.wait_for_messages(30)
            assert peer.sources() == {NEW: 3, OLD: 27}
            peer.refused_sources[OLD] = b"451 4.3.0 Try again later"
            await pipeline.send(5)
            while not peer.count_refused(OLD):
                await asyncio.sleep(0.05)
            peer.refused_sources.clear()  # each is tried again from the overflow source
            await pipeline.wait_for_messages(35)
            async with open_sources(pipeline.router.settings) as sources:
                await sources.pools.change("default", overflow_id="")
            await asyncio.sleep(SOURCES_INTERVAL_S + 1)
            await pipeline.send(5)
            while (await pipeline.reasons()) != {"warmup"}:
                await asyncio.sleep(0.05)
        assert peer.sources() == {NEW: 3, OLD: 32}


async def test_a_blocked_source_is_suspended_at_the_site_and_sends_again_when_restored(
    make_pipeline: Callable[[SmtpPeer], SourcesPipeline],
) -> None:
    async with SmtpPeer() as peer:
        pipeline = make_pipeline(peer)
        await pipeline.add_sources()
        peer.refused_sources[OLD] = BLOCKED
        async with pipeline.running(), pipeline.policies() as (call, stub):
            await pipeline.send(30)

            async def listed() -> list[OverrideSet]:
                request = pb.ListOverridesRequest()
                return list((await call(stub.ListOverrides, request)).overrides)

            while not await listed():
                await asyncio.sleep(0.05)
            [override] = await listed()
            assert override.scope == f"egress_site/{pipeline.ids[OLD]}/lab"
            assert "blocked" in override.reason
            refused = peer.count_refused(OLD)
            peer.refused_sources.clear()
            await pipeline.send(12)
            await pipeline.wait_for_messages(42 - refused)
            while (await pipeline.reasons()) != {"override"}:
                await asyncio.sleep(0.05)
            assert peer.sources()[OLD] == 0
            removal = OverrideRemoved(override_id=override.override_id, removed_by="ann")
            command = PolicyCommand(remove_override=removal)
            await call(stub.Execute, pb.ExecuteRequest(command=command))
            await pipeline.wait_for_messages(42)
            assert peer.sources()[OLD] == refused
            assert len({one.rcpt_to for one in peer.messages}) == 42


async def test_a_blocked_source_sends_again_by_itself_when_its_suspension_ends(
    make_pipeline: Callable[[SmtpPeer], SourcesPipeline],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overrides, "RESTORE_STEP_MIN_S", 1.0)
    async with SmtpPeer() as peer:
        pipeline = make_pipeline(peer)
        rules = FEEDBACK.replace("duration_s = 3600", "duration_s = 6")
        (tmp_path / "feedback_file.toml").write_text(rules)
        await pipeline.add_sources()
        peer.refused_sources[OLD] = BLOCKED
        async with pipeline.running():
            await pipeline.send(30)
            while (await pipeline.reasons()) != {"override"}:
                await asyncio.sleep(0.05)
            peer.refused_sources.clear()
            assert peer.sources()[OLD] == 0
            await pipeline.wait_for_messages(30)  # also those that stay with the blocked source
        assert 0 < peer.sources()[OLD] <= peer.count_refused(OLD)  # one may be refused twice
        assert len({one.rcpt_to for one in peer.messages}) == 30
