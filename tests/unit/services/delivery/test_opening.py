"""How long each step of opening a connection may take, and all of them; and who is tried first."""

import asyncio
from dataclasses import replace
from typing import NoReturn

import pytest

from contracts.router.v1.events_pb2 import DeliveryAssigned, MxHost
from services.delivery.clients.mx_connector import MxConnector, NoConnection, by_preference
from services.delivery.clients.smtp import dial
from services.delivery.clients.smtp.dial import ConnectFailed, DialTarget, SmtpDialer
from services.delivery.clients.smtp.timeouts import Timeouts
from services.delivery.domain.attempt_result import CONNECT, EHLO, GREETING, AttemptResult
from tests.support.connections import Anywhere, Records
from tests.support.smtp_peer import Act, Acts, SmtpPeer, self_signed

SHORT_S = 0.05
HANG = Act(say=b"", hang=True)


def dialed(acts: Acts, *, times: Timeouts, tls: bool = False) -> AttemptResult | dict[str, str]:
    """Why nobody was reached, else how the peer was spoken to."""

    async def story() -> AttemptResult | dict[str, str]:
        async with SmtpPeer(acts, tls=self_signed() if tls else None) as peer, asyncio.timeout(30):
            dialer = SmtpDialer(times)
            host = DialTarget("mx.example", peer.port, ("127.0.0.1",))
            try:
                session = await dialer.dial(host, sources=(), ehlo="out.sender.example")
            except ConnectFailed as failure:
                return failure.result
            session.abort()
            return {"tls": session.peer.tls}

    return asyncio.run(story())


def test_a_host_that_does_not_answer_at_all_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(dial, "start_connection", never)
    result = dialed({}, times=Timeouts(connect_s=SHORT_S))
    assert isinstance(result, AttemptResult)
    assert (result.step, result.problem) == (CONNECT, "no connection in time")
    assert not result.peer.connected


@pytest.mark.parametrize(
    ("step", "at", "setting"),
    [(GREETING, "greeting", "greeting_s"), (EHLO, "ehlo", "ehlo_s"), (EHLO, "helo", "ehlo_s")],
)
def test_a_server_that_falls_silent_is_given_up(step: str, at: str, setting: str) -> None:
    acts: dict[str, Act] = {"ehlo": Act(b"502 What?"), at: HANG}
    result = dialed(acts, times=replace(Timeouts(), **{setting: SHORT_S}))
    assert isinstance(result, AttemptResult)
    assert (result.step, result.problem) == (step, "no answer in time")


def test_a_server_that_falls_silent_in_the_handshake_is_spoken_to_in_the_clear() -> None:
    acts = {"starttls": [Act(b"220 Go", hang=True), Act()]}
    assert dialed(acts, tls=True, times=Timeouts(tls_s=SHORT_S)) == {"tls": ""}


def test_a_server_that_takes_its_time_at_each_step_is_given_up_as_a_whole() -> None:
    async def story() -> AttemptResult:
        acts = {"greeting": Act(wait_s=0.2), "ehlo": HANG}
        async with SmtpPeer(acts) as peer, asyncio.timeout(30):
            mx_connector = MxConnector(
                Records(["127.0.0.1"]), SmtpDialer(Timeouts()), opening_s=0.3
            )
            to = [MxHost(host="mx.example", port=peer.port)]
            one = DeliveryAssigned(mx_hosts=to)
            one.context.test = True  # which may go to a private address
            with pytest.raises(NoConnection) as error:
                await mx_connector.connect(one, tried=set(), slots=Anywhere())
            return error.value.result

    assert asyncio.run(story()).problem == "no connection within 0.3 s"


def test_equals_are_asked_in_another_order_each_time_and_after_better_ones() -> None:
    equals = [MxHost(host=f"mx{n}.example", preference=10) for n in range(6)]
    best = MxHost(host="best.example", preference=5)
    orders = {tuple(one.host for one in by_preference([*equals, best])) for _ in range(50)}
    assert len(orders) > 1
    assert {order[0] for order in orders} == {"best.example"}
    assert {frozenset(order) for order in orders} == {
        frozenset(one.host for one in (*equals, best))
    }
