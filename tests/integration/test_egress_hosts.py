"""Router, delivery and an `obm egress-host` that owns the source: mail waits while it is away, and
none of it is lost, refused or sent twice without a flag."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_DELIVERED,
    MessageClosed,
    MessageDelayed,
)
from kernel.embedded.folder import free_port
from kernel.tls import CertificateFiles
from tests.support.delivery import Harness
from tests.support.egress_host import EgressHostProcess
from tests.support.pipeline import ROUTE, Pipeline
from tests.support.router import TOKEN, RouterHarness
from tests.support.smtp_peer import Act, Acts, SmtpPeer, self_signed
from tests.support.socks5 import TOKEN as EGRESS_TOKEN
from tests.support.sources import open_sources
from tests.support.stack import FreshDatabase
from tests.support.tls import certificate_files

HOSTED, OWN = "127.0.0.91", "127.0.0.92"

E = TypeVar("E", MessageClosed, MessageDelayed)


class HostedPipeline(Pipeline):
    """With a source whose address the host owns. folder: of its log."""

    def __init__(
        self, router: RouterHarness, delivery: Harness, peer: SmtpPeer, host: EgressHostProcess
    ) -> None:
        super().__init__(router, delivery, peer)
        self.host = host

    async def add_sources(self, *, own: bool = False) -> None:
        """own: also one with an address of delivery's machine."""
        async with open_sources(self.router.settings) as sources:
            await sources.remove_all()
            await sources.add([HOSTED], ehlo="out.test", host=self.host.address)
            if own:
                await sources.add([OWN], ehlo="out.test")

    async def wait_for_state(self, state: str, *, problem: str = "") -> pb.Source:
        """Until the source with the host has this state, and this problem alone."""
        async with self.policies() as (call, stub):
            while True:
                request = pb.ListSourcesRequest(address=HOSTED)
                source: pb.Source
                [source] = (await call(stub.ListSources, request)).sources
                if (source.state, {one.problem for one in source.problems}) == (
                    state,
                    {problem} if problem else set(),
                ):
                    return source
                await asyncio.sleep(0.05)

    async def wait_for_closed(self) -> list[MessageClosed]:
        """Of all messages that were sent."""
        while len(closed := self.events(MessageClosed)) < len(self.sent):
            await asyncio.sleep(0.05)
        return closed

    def events(self, kind: type[E]) -> list[E]:
        """Of the messages that were sent; the topics have those of other tests too."""
        listed = (one for one in self.router.events if isinstance(one, kind))
        return [one for one in listed if one.message_id in self.sent]

    def attempt_counts(self) -> Counter[int]:
        with self.router.database.connect() as connection:
            query = "SELECT attempt_count FROM router.messages WHERE message_id = ANY(%s::uuid[])"
            rows = connection.execute(query, (list(self.sent),)).fetchall()
        return Counter(int(str(row[0])) for row in rows)


MakePipeline = Callable[[SmtpPeer], HostedPipeline]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return certificate_files(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture
def make_pipeline(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path,
    files: CertificateFiles,
) -> Iterator[MakePipeline]:  # fmt: skip
    hosts: list[EgressHostProcess] = []
    rpc = f"127.0.0.1:{free_port()}"

    def make(peer: SmtpPeer) -> HostedPipeline:
        routes = tmp_path / "routes_file.toml"
        routes.write_text(ROUTE.format(address=peer.address))
        router = RouterHarness(bootstrap_servers, topic_prefix, database, tmp_path)
        router.extra = {
            "routes_file": str(routes),
            "retry_schedule_s": (0.5,),
            "source_checks": "off",
            "delivery_rpc_address": rpc,
            "egress_host_check_interval_s": 0.3,
        }
        delivery = Harness(bootstrap_servers, topic_prefix, database, tmp_path)
        delivery.settings = {
            "rpc_listen": rpc,
            "rpc_token": TOKEN,
            "egress_tokens": [EGRESS_TOKEN],
            "egress_host_ca": str(files.certificate),
            "smtp_idle_timeout_s": 1.0,
        }
        host = EgressHostProcess(tmp_path, files, ports=str(peer.port))
        hosts.append(host)
        return HostedPipeline(router, delivery, peer, host)

    yield make
    for one in hosts:
        one.end()


async def test_mail_leaves_by_the_address_of_the_host_and_waits_until_it_is_there(
    make_pipeline: MakePipeline,
) -> None:
    async with SmtpPeer(tls=self_signed()) as peer:
        pipeline = make_pipeline(peer)
        await pipeline.add_sources()
        async with pipeline.running():
            await pipeline.send(10)
            source = await pipeline.wait_for_state("suspended", problem="egress_host_unreachable")
            assert source.problems[0].advice.endswith(".")
            while (await pipeline.reasons()) != {"egress_host"}:
                await asyncio.sleep(0.05)
            await pipeline.host.start()
            closed = await pipeline.wait_for_closed()
            await pipeline.wait_for_state("active")
        assert {one.state for one in closed} == {CLOSED_STATE_DELIVERED}
        assert peer.sources() == {HOSTED: 10}
        assert all(one.tls for one in peer.connections if one.commands)
        assert pipeline.attempt_counts() == {1: 10}  # what failed at the host was no attempt
        assert not pipeline.events(MessageDelayed)


async def test_a_host_that_is_killed_loses_no_mail_and_doubles_none_without_a_flag(
    make_pipeline: MakePipeline,
) -> None:
    acts: Acts = {"end_of_data": Act(wait_s=0.02), "rcpt": Act(wait_s=0.02)}
    async with SmtpPeer(acts) as peer:
        pipeline = make_pipeline(peer)
        await pipeline.add_sources()
        await pipeline.host.start()
        async with pipeline.running():
            await pipeline.send(150)
            await pipeline.wait_for_messages(30)
            pipeline.host.end(signal.SIGKILL)
            await pipeline.wait_for_state("suspended", problem="egress_host_unreachable")
            await pipeline.host.start()
            closed = await pipeline.wait_for_closed()
            await pipeline.wait_for_state("active")
        assert {one.state for one in closed} == {CLOSED_STATE_DELIVERED}
        received = Counter(one.rcpt_to for one in peer.messages)
        flagged = {one.recipient for one in closed if one.ambiguous}
        assert len(received) == 150
        assert {address for address, copies in received.items() if copies > 1} <= flagged
        assert max(received.values()) <= 2
        assert peer.sources()[HOSTED] == sum(received.values())


async def test_while_a_host_is_away_other_sources_of_the_pool_send(
    make_pipeline: MakePipeline,
) -> None:
    async with SmtpPeer() as peer:
        pipeline = make_pipeline(peer)
        await pipeline.add_sources(own=True)
        async with pipeline.running():
            await pipeline.wait_for_state("suspended", problem="egress_host_unreachable")
            await pipeline.send(10)
            await pipeline.wait_for_messages(10)
            assert peer.sources() == {OWN: 10}
            await pipeline.host.start()
            await pipeline.wait_for_state("active")
            await pipeline.send(10)
            await pipeline.wait_for_closed()
        assert peer.sources()[HOSTED] >= 1


async def test_the_host_serves_its_health_and_finishes_connections_at_a_stop(
    make_pipeline: MakePipeline,
) -> None:
    async with SmtpPeer() as peer:
        pipeline = make_pipeline(peer)
        await pipeline.add_sources()
        await pipeline.host.start()
        async with pipeline.running():
            await pipeline.send(3)
            await pipeline.wait_for_closed()
            shown = await asyncio.to_thread(pipeline.host.get, "/metrics")
            assert 'obm_egress_host_requests_total{result="succeeded"}' in shown
            assert 'obm_egress_host_requests_total{result="checked"}' in shown
            assert await asyncio.to_thread(pipeline.host.get, "/live")
            await asyncio.to_thread(pipeline.host.end, signal.SIGTERM)
        log = pipeline.host.log.read_text()
        assert "egress_host.connected" in log
        assert "Traceback" not in log
