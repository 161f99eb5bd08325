"""The source address of a connection, by the families of the host: RFC 8305, RFC 5321 §5.1."""

import asyncio
from ipaddress import ip_network

import pytest

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_TEMPORARY
from contracts.router.v1.events_pb2 import DeliveryAssigned, MxHost
from services.delivery.clients.mx_connector import MxConnector, NoConnection
from services.delivery.clients.smtp.dial import SmtpDialer
from services.delivery.clients.smtp.timeouts import SmtpTimeouts
from services.delivery.domain.attempt_result import AttemptResult, ReceivingServer, outcome_of
from tests.support.connections import Records, UnlimitedSlots
from tests.support.smtp_peer import SmtpPeer


def connect_result(
    ips: list[str], *, listen: str, source_ip: str = "", source_ipv6: str = ""
) -> ReceivingServer | AttemptResult:
    """The server that was reached, or the failure. The server listens at one address only."""

    async def scenario() -> ReceivingServer | AttemptResult:
        async with SmtpPeer(host=listen) as peer:
            mx_connector = MxConnector(
                Records(ips),
                SmtpDialer(SmtpTimeouts()),
                allowed=[ip_network("127.0.0.0/8"), ip_network("::1")],
            )
            assignment = DeliveryAssigned(
                mx_hosts=[MxHost(host="mx.example", port=peer.port)],
                source_ip=source_ip,
                source_ipv6=source_ipv6,
            )
            try:
                session = await mx_connector.connect(
                    assignment, tried=set(), slots=UnlimitedSlots()
                )
            except NoConnection as error:
                return error.result
            session.abort()
            return session.peer

    return asyncio.run(scenario())


@pytest.mark.parametrize("listen", ["127.0.0.1", "::1"])
def test_a_source_pair_uses_the_address_of_the_hosts_family(listen: str) -> None:
    peer = connect_result(
        ["127.0.0.1", "::1"], listen=listen, source_ip="127.0.0.2", source_ipv6="::1"
    )
    assert isinstance(peer, ReceivingServer)
    assert (peer.remote_ip, peer.local_ip) == (
        listen,
        {"127.0.0.1": "127.0.0.2"}.get(listen, "::1"),
    )


def test_without_source_addresses_the_system_chooses() -> None:
    for listen in ("127.0.0.1", "::1"):
        peer = connect_result(["127.0.0.1", "::1"], listen=listen)
        assert isinstance(peer, ReceivingServer)
        assert (peer.remote_ip, peer.local_ip) == (listen, listen)


def test_a_host_without_an_address_of_the_sources_family_is_not_dialed() -> None:
    result = connect_result(["::1"], listen="::1", source_ip="127.0.0.2")
    assert isinstance(result, AttemptResult)
    assert (
        result.problem
        == "mx.example is only at ::1, but the egress source sends only from 127.0.0.2"
    )
    assert outcome_of(result) == ATTEMPT_OUTCOME_TEMPORARY
    assert not result.peer.connected


def test_an_address_of_another_family_than_the_source_is_not_dialed() -> None:
    result = connect_result(["127.0.0.1", "::1"], listen="::1", source_ip="127.0.0.2")
    assert isinstance(result, AttemptResult)
    assert result.peer.remote_ip == "127.0.0.1"


def test_a_source_address_missing_on_this_machine_leaves_the_other_one() -> None:
    peer = connect_result(
        ["127.0.0.1", "::1"], listen="127.0.0.1", source_ip="127.0.0.2", source_ipv6="2001:db8::1"
    )
    assert isinstance(peer, ReceivingServer)
    assert peer.local_ip == "127.0.0.2"


def test_when_neither_family_connects_the_reason_is_reported() -> None:
    result = connect_result(["127.0.0.1", "::1"], listen="127.0.0.3", source_ipv6="2001:db8::1")
    assert isinstance(result, AttemptResult)
    assert "None" not in result.problem
    result = connect_result(
        ["127.0.0.1", "::1"], listen="127.0.0.3", source_ip="127.0.0.2", source_ipv6="2001:db8::1"
    )
    assert isinstance(result, AttemptResult)
    assert "2001:db8::1" in result.problem
