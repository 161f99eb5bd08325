"""From which of its addresses an egress speaks to a host: RFC 8305, RFC 5321 §5.1."""

import asyncio
from ipaddress import ip_network

import pytest

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_TEMPORARY
from contracts.router.v1.events_pb2 import DeliveryAssigned, MxHost
from services.delivery.clients.mx_connector import MxConnector, NoConnection
from services.delivery.clients.smtp.dial import SmtpDialer
from services.delivery.clients.smtp.timeouts import Timeouts
from services.delivery.domain.attempt_result import AttemptResult, RemoteServer, outcome_of
from tests.support.connections import Anywhere, Records
from tests.support.smtp_peer import SmtpPeer


def reached(
    ips: list[str], *, listen: str, source_ip: str = "", source_ipv6: str = ""
) -> RemoteServer | AttemptResult:
    """Who was spoken to, or why nobody was; the mail server listens at one address only."""

    async def story() -> RemoteServer | AttemptResult:
        async with SmtpPeer(host=listen) as peer:
            mx_connector = MxConnector(
                Records(ips),
                SmtpDialer(Timeouts()),
                allowed=[ip_network("127.0.0.0/8"), ip_network("::1")],
            )
            assignment = DeliveryAssigned(
                mx_hosts=[MxHost(host="mx.example", port=peer.port)],
                source_ip=source_ip,
                source_ipv6=source_ipv6,
            )
            try:
                session = await mx_connector.connect(assignment, tried=set(), slots=Anywhere())
            except NoConnection as none:
                return none.result
            session.abort()
            return session.peer

    return asyncio.run(story())


@pytest.mark.parametrize("listen", ["127.0.0.1", "::1"])
def test_a_pair_leaves_from_the_address_of_the_hosts_family(listen: str) -> None:
    peer = reached(["127.0.0.1", "::1"], listen=listen, source_ip="127.0.0.2", source_ipv6="::1")
    assert isinstance(peer, RemoteServer)
    assert (peer.remote_ip, peer.local_ip) == (
        listen,
        {"127.0.0.1": "127.0.0.2"}.get(listen, "::1"),
    )


def test_without_addresses_of_its_own_the_system_chooses() -> None:
    for listen in ("127.0.0.1", "::1"):
        peer = reached(["127.0.0.1", "::1"], listen=listen)
        assert isinstance(peer, RemoteServer)
        assert (peer.remote_ip, peer.local_ip) == (listen, listen)


def test_a_host_of_the_other_family_is_not_dialled_and_the_answer_says_why() -> None:
    result = reached(["::1"], listen="::1", source_ip="127.0.0.2")
    assert isinstance(result, AttemptResult)
    assert result.problem == "mx.example is at ::1 only, and the egress sends from 127.0.0.2 only"
    assert outcome_of(result) == ATTEMPT_OUTCOME_TEMPORARY
    assert not result.peer.connected


def test_an_address_of_the_other_family_is_no_use_when_the_own_one_does_not_answer() -> None:
    result = reached(["127.0.0.1", "::1"], listen="::1", source_ip="127.0.0.2")
    assert isinstance(result, AttemptResult)
    assert result.peer.remote_ip == "127.0.0.1"


def test_a_source_that_the_machine_does_not_have_leaves_the_other_one() -> None:
    peer = reached(
        ["127.0.0.1", "::1"], listen="127.0.0.1", source_ip="127.0.0.2", source_ipv6="2001:db8::1"
    )
    assert isinstance(peer, RemoteServer)
    assert peer.local_ip == "127.0.0.2"


def test_when_neither_family_answers_the_reason_is_told() -> None:
    result = reached(["127.0.0.1", "::1"], listen="127.0.0.3", source_ipv6="2001:db8::1")
    assert isinstance(result, AttemptResult)
    assert "None" not in result.problem
    result = reached(
        ["127.0.0.1", "::1"], listen="127.0.0.3", source_ip="127.0.0.2", source_ipv6="2001:db8::1"
    )
    assert isinstance(result, AttemptResult)
    assert "2001:db8::1" in result.problem
