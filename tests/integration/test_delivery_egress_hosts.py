"""Delivery through egress hosts: what their failures mean, and what those of receiving servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from contracts.delivery.v1 import delivery_service_pb2 as pb
from contracts.delivery.v1 import events_pb2 as events
from contracts.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from kernel.embedded.folder import free_port
from kernel.rpc import RpcClient
from kernel.socks5 import messages
from kernel.tls import CertificateFiles
from tests.support.delivery import Harness, Running
from tests.support.smtp_peer import Act, SmtpPeer, self_signed
from tests.support.socks5 import SOURCE, TOKEN, destination, socks5_server
from tests.support.stack import harness_fixture
from tests.support.tls import certificate_files

RECIPIENT = "friend@receiver.example"

harness = harness_fixture(Harness, scope="module")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return certificate_files(tmp_path_factory.mktemp("tls"), "localhost", "127.0.0.1")


@asynccontextmanager
async def running(
    harness: Harness,
    files: CertificateFiles,
    **settings: Any,  # noqa: ANN401 - of delivery
) -> AsyncIterator[Running]:
    given = {"egress_tokens": [TOKEN], "egress_host_ca": str(files.certificate), **settings}
    async with harness.running(**given) as delivery:
        yield delivery


async def send(
    harness: Harness,
    delivery: Running,
    at: str,
    *,
    host: str,
    **more: Any,  # noqa: ANN401
) -> events.DeliveryAttempted:
    fields = {"source_ip": SOURCE, "egress_host": host, **more}
    assignments = await harness.assign(RECIPIENT, at=at, **fields)
    return (await delivery.send(assignments))[RECIPIENT]


async def test_mail_leaves_by_the_address_of_another_machine_with_tls_end_to_end(
    harness: Harness, files: CertificateFiles
) -> None:
    async with (
        socks5_server(files=files) as server,
        SmtpPeer(tls=self_signed()) as peer,
        running(harness, files) as delivery,
    ):
        result = await send(harness, delivery, peer.address, host=f"localhost:{server.port}")
    assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED
    assert peer.sources() == {SOURCE: 1}
    [connection] = peer.connections
    assert connection.tls
    reply = result.reply
    assert (reply.local_ip, reply.remote_ip, reply.tls) == (SOURCE, "127.0.0.1", "TLSv1.3")


async def test_a_receiving_server_that_refuses_or_is_silent_is_no_failure_of_the_host(
    harness: Harness, files: CertificateFiles
) -> None:
    silent = {"smtp_greeting_timeout_s": 0.3}
    async with socks5_server(files=files) as server, running(harness, files, **silent) as delivery:
        host = f"localhost:{server.port}"
        refused = await send(harness, delivery, f"127.0.0.1:{free_port()}", host=host)
        async with SmtpPeer({"greeting": Act(b"", hang=True)}) as peer:
            late = await send(harness, delivery, peer.address, host=host)
        async with SmtpPeer({"mail": Act(b"", close=True)}) as peer:
            broken = await send(harness, delivery, peer.address, host=host)
    assert {one.outcome for one in (refused, late, broken)} == {events.ATTEMPT_OUTCOME_TEMPORARY}
    assert [one.reply.step for one in (refused, late, broken)] == ["connect", "greeting", "mail"]
    assert "Connection refused" in refused.reply.text
    assert [one.connected for one in (refused, late, broken)] == [False, True, True]


async def test_a_destination_that_the_host_does_not_allow_concerns_that_host_alone(
    harness: Harness, files: CertificateFiles
) -> None:
    async with (
        socks5_server(files=files, refusal_of=lambda *_: "private destination") as server,
        SmtpPeer() as peer,
        running(harness, files) as delivery,
    ):
        result = await send(harness, delivery, peer.address, host=f"localhost:{server.port}")
    assert result.outcome == events.ATTEMPT_OUTCOME_TEMPORARY
    assert (result.reply.step, result.connected) == ("connect", False)
    assert "does not allow" in result.reply.text


async def test_what_fails_at_the_host_is_no_attempt_and_its_check_names_the_problem(
    harness: Harness, files: CertificateFiles
) -> None:
    rpc = f"127.0.0.1:{free_port()}"
    async with (
        socks5_server(files=files) as server,
        socks5_server(files=files, tokens=("of somebody else",)) as strange,
        SmtpPeer() as peer,
        running(harness, files, rpc_listen=rpc) as delivery,
    ):
        good, closed = f"localhost:{server.port}", f"localhost:{free_port()}"
        unowned, unnamed = "192.0.2.77", f"127.0.0.1:{peer.port}"
        pairs = [(good, SOURCE), (good, unowned), (closed, SOURCE)]
        pairs += [(f"localhost:{strange.port}", SOURCE), (unnamed, SOURCE)]
        client = RpcClient("delivery", rpc, "token")
        stub = DeliveryServiceStub(client.channel)
        hosted = [pb.HostedAddress(egress_host=host, address=at) for host, at in pairs]
        checked = await client.call(
            stub.CheckEgressHosts, pb.CheckEgressHostsRequest(addresses=hosted), deadline_s=60
        )
        await client.close()
        results = [
            await send(harness, delivery, peer.address, host=host, source_ip=at)
            for host, at in pairs[1:]
        ]
    assert list(checked.problems) == ["", "address", "unreachable", "token", "unreachable"]
    assert {one.outcome for one in results} == {events.ATTEMPT_OUTCOME_EGRESS_FAILED}
    assert {(one.reply.step, one.reply.code) for one in results} == {("egress_host", 0)}
    assert not any(one.connected or one.bounce_class for one in results)
    assert not peer.messages


@pytest.mark.parametrize("answered", [b"", b"\x05\x02\x01\x00"], ids=["login", "request"])
async def test_a_host_that_is_silent_or_breaks_off_has_failed(
    harness: Harness, files: CertificateFiles, answered: bytes
) -> None:
    logins = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal logins
        logins += 1
        if logins == 1:
            writer.write(answered)
            await reader.readexactly(len(messages.GREETING))

    plain = {"egress_host_tls": False, "egress_host_timeout_s": 0.5}
    async with destination(talk) as port, running(harness, files, **plain) as delivery:
        result = await send(harness, delivery, "127.0.0.1:25", host=f"127.0.0.1:{port}")
    assert result.outcome == events.ATTEMPT_OUTCOME_EGRESS_FAILED


class HangingPeer(SmtpPeer):
    """It does not reply at a step. reached: set then."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self.step, self.reached = step, asyncio.Event()

    def act(self, step: str, source: str) -> Act:
        if step != self.step:
            return super().act(step, source)
        self.reached.set()
        return Act(b"", hang=True)


@pytest.mark.parametrize("step", ["greeting", "ehlo", "mail", "data"])
async def test_a_host_that_dies_before_end_of_data_was_no_attempt(
    harness: Harness, files: CertificateFiles, step: str
) -> None:
    async with (
        HangingPeer(step) as peer,
        running(harness, files) as delivery,
        dying_host(files, peer.reached) as host,
    ):
        result = await send(harness, delivery, peer.address, host=host)
    assert result.outcome == events.ATTEMPT_OUTCOME_EGRESS_FAILED
    assert not result.connected
    assert not peer.messages


async def test_a_host_that_dies_after_end_of_data_leaves_an_ambiguous_attempt(
    harness: Harness, files: CertificateFiles
) -> None:
    async with (
        HangingPeer("end_of_data") as peer,
        running(harness, files) as delivery,
        dying_host(files, peer.reached) as host,
    ):
        result = await send(harness, delivery, peer.address, host=host)
    assert result.outcome == events.ATTEMPT_OUTCOME_AMBIGUOUS
    assert result.ambiguous
    assert len(peer.messages) == 1


@asynccontextmanager
async def dying_host(files: CertificateFiles, until: asyncio.Event) -> AsyncIterator[str]:
    """An egress host that closes its port and all connections at an event."""

    async def die() -> None:
        await until.wait()
        await stack.__aexit__(None, None, None)

    stack = socks5_server(files=files)
    server = await stack.__aenter__()
    dying = asyncio.create_task(die())
    try:
        yield f"localhost:{server.port}"
    finally:
        dying.cancel()
        with suppress(asyncio.CancelledError):
            await dying
