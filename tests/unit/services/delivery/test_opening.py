"""Timeouts of opening a connection, and the order of MX hosts."""

import asyncio
from dataclasses import replace
from typing import NoReturn

import pytest

from contracts.router.v1.events_pb2 import DeliveryAssigned, MxHost
from mail.reachable import Address
from services.delivery.clients.dns import NoSuchHost
from services.delivery.clients.mx_connector import MxConnector, NoConnection, by_preference
from services.delivery.clients.smtp import handshake
from services.delivery.clients.smtp.dial import SmtpDialer
from services.delivery.clients.smtp.dial_target import DialTarget
from services.delivery.clients.smtp.handshake import ConnectFailed
from services.delivery.clients.smtp.timeouts import SmtpTimeouts
from services.delivery.domain.attempt_result import CONNECT, DNS, EHLO, GREETING, AttemptResult
from tests.support.connections import Records, UnlimitedSlots
from tests.support.smtp_peer import Act, Acts, SmtpPeer, self_signed

SHORT_S = 0.05
HANG = Act(reply=b"", hang=True)


def dial_result(
    acts: Acts, *, times: SmtpTimeouts, tls: bool = False
) -> AttemptResult | dict[str, str]:
    """The failure, or the TLS version of the session."""

    async def scenario() -> AttemptResult | dict[str, str]:
        async with SmtpPeer(acts, tls=self_signed() if tls else None) as peer, asyncio.timeout(30):
            dialer = SmtpDialer(times)
            host = DialTarget("mx.example", peer.port, ("127.0.0.1",))
            try:
                session = await dialer.dial(host, sources=(), ehlo="out.sender.example")
            except ConnectFailed as failure:
                return failure.result
            session.abort()
            return {"tls": session.peer.tls}

    return asyncio.run(scenario())


@pytest.mark.parametrize("other", ["10.0.0.1", ""])
async def test_a_host_whose_addresses_are_not_known_now_may_be_a_good_one(other: str) -> None:
    """That another one does not exist, or is private, decides nothing."""

    class SomeRecords(Records):
        async def addresses(self, host: str) -> list[Address]:
            if host == "unanswered.example":
                return []
            if not self.ips:
                raise NoSuchHost(host)
            return await super().addresses(host)

    hosts = [MxHost(host="other.example"), MxHost(host="unanswered.example", preference=1)]
    connector = MxConnector(SomeRecords([other] if other else []), SmtpDialer(SmtpTimeouts()))
    with pytest.raises(NoConnection) as failed:
        await connector.connect(
            DeliveryAssigned(mx_hosts=hosts), tried=set(), slots=UnlimitedSlots()
        )
    assert (failed.value.result.step, failed.value.result.refusal) == (DNS, "")


def test_a_host_that_does_not_accept_the_connection_times_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_: object, **__: object) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(handshake, "start_connection", never)
    result = dial_result({}, times=SmtpTimeouts(connect_s=SHORT_S))
    assert isinstance(result, AttemptResult)
    assert (result.step, result.problem) == (CONNECT, "no connection in time")
    assert not result.peer.connected


@pytest.mark.parametrize(
    ("step", "at", "setting"),
    [(GREETING, "greeting", "greeting_s"), (EHLO, "ehlo", "ehlo_s"), (EHLO, "helo", "ehlo_s")],
)
def test_a_server_that_stops_replying_times_out(step: str, at: str, setting: str) -> None:
    acts: dict[str, Act] = {"ehlo": Act(b"502 What?"), at: HANG}
    result = dial_result(acts, times=replace(SmtpTimeouts(), **{setting: SHORT_S}))
    assert isinstance(result, AttemptResult)
    assert (result.step, result.problem) == (step, "no reply in time")


def test_a_server_that_hangs_in_the_tls_handshake_gets_mail_in_clear_text() -> None:
    acts = {"starttls": [Act(b"220 Go", hang=True), Act()]}
    assert dial_result(acts, tls=True, times=SmtpTimeouts(tls_s=SHORT_S)) == {"tls": ""}


def test_a_server_that_is_slow_at_each_step_exceeds_the_total_timeout() -> None:
    async def scenario() -> AttemptResult:
        acts = {"greeting": Act(wait_s=0.2), "ehlo": HANG}
        async with SmtpPeer(acts) as peer, asyncio.timeout(30):
            mx_connector = MxConnector(
                Records(["127.0.0.1"]), SmtpDialer(SmtpTimeouts()), open_timeout_s=0.3
            )
            mx_hosts = [MxHost(host="mx.example", port=peer.port)]
            one = DeliveryAssigned(mx_hosts=mx_hosts)
            one.context.test = True  # which may go to a private address
            with pytest.raises(NoConnection) as error:
                await mx_connector.connect(one, tried=set(), slots=UnlimitedSlots())
            return error.value.result

    assert asyncio.run(scenario()).problem == "no connection within 0.3 s"


def test_hosts_of_equal_preference_are_tried_in_random_order_after_better_ones() -> None:
    equals = [MxHost(host=f"mx{n}.example", preference=10) for n in range(6)]
    best = MxHost(host="best.example", preference=5)
    orders = {tuple(one.host for one in by_preference([*equals, best])) for _ in range(50)}
    assert len(orders) > 1
    assert {order[0] for order in orders} == {"best.example"}
    assert {frozenset(order) for order in orders} == {
        frozenset(one.host for one in (*equals, best))
    }
