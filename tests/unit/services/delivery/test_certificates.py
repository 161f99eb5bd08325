"""Verification of server certificates under opportunistic TLS."""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kernel import clock
from mail import tls_chain, tlsa
from mail.tlsa import Tlsa
from services.delivery.clients.smtp import certificates
from services.delivery.clients.smtp.certificates import PkixVerifier, system_roots
from services.delivery.clients.smtp.dial import SmtpDialer
from services.delivery.clients.smtp.dial_target import DialTarget
from services.delivery.clients.smtp.timeouts import SmtpTimeouts
from services.delivery.domain.attempt_result import DANE, ReceivingServer
from services.delivery.domain.tls_policy import TlsRequirement
from tests.support.authority import DAY, Certified
from tests.support.smtp_peer import SmtpPeer, self_signed

NAME = "mx1.receiver.example"
ROOT = Certified.root("root")
GOOD = ROOT.authority("between").server(NAME)


def connected_server(context: ssl.SSLContext) -> ReceivingServer:
    async def scenario() -> ReceivingServer:
        async with SmtpPeer(tls=context) as peer:
            dialer = SmtpDialer(SmtpTimeouts(), PkixVerifier(lambda: [ROOT.der]))
            host = DialTarget(NAME, peer.port, ("127.0.0.1",))
            session = await dialer.dial(host, sources=(), ehlo="out.sender.example")
            session.abort()
            return session.peer

    return asyncio.run(scenario())


def test_a_valid_certificate_is_recorded_as_verified() -> None:
    peer = connected_server(GOOD.context())
    assert peer.tls.startswith("TLS")
    assert peer.verified


@pytest.mark.parametrize(
    "verifier",
    {
        "another name": lambda: ROOT.server("mx2.receiver.example").context(),
        "expired": lambda: ROOT.server(NAME, since=-3 * DAY, until=-DAY).context(),
        "self-signed": self_signed,
    }.items(),
    ids=lambda item: item[0],
)
def test_a_server_with_an_invalid_certificate_still_gets_tls(
    verifier: tuple[str, Callable[[], ssl.SSLContext]],
) -> None:
    peer = connected_server(verifier[1]())
    assert peer.tls.startswith("TLS")
    assert not peer.verified


Scenario = Callable[[PkixVerifier], Awaitable[None]]


@pytest.fixture
def verified_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The host names that chains were verified for."""
    names: list[str] = []
    real = tls_chain.is_valid_chain

    def record(chain: list[bytes], name: str, **more: Any) -> bool:  # noqa: ANN401
        names.append(name)
        return real(chain, name, **more)

    monkeypatch.setattr(tls_chain, "is_valid_chain", record)
    return names


async def test_a_chain_is_verified_once_per_host(verified_names: list[str]) -> None:
    verifier = PkixVerifier(lambda: [ROOT.der])
    assert (
        await asyncio.gather(*(verifier.verify(GOOD.chain, NAME) for _ in range(9))) == [True] * 9
    )
    assert await verifier.verify(GOOD.chain, NAME)
    assert not await verifier.verify(GOOD.chain, "mx2.receiver.example")

    assert sorted(verified_names) == [NAME, "mx2.receiver.example"]


async def test_a_result_is_cached_for_an_hour(
    verified_names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s[0])

    verifier = PkixVerifier(lambda: [ROOT.der])
    for later_s in (0.0, certificates.CACHE_TTL_S - 1, 1.0):
        now_s[0] += later_s
        await verifier.verify(GOOD.chain, NAME)

    assert len(verified_names) == 2


async def test_the_number_of_cached_results_is_bounded(
    verified_names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "CHAINS_MAX", 3)

    verifier = PkixVerifier(lambda: [ROOT.der])
    for number in (1, 2, 3, 4, 4, 2, 1):
        await verifier.verify(GOOD.chain, f"mx{number}.receiver.example")

    assert [name[2] for name in verified_names] == ["1", "2", "3", "4", "1"]


async def test_a_failure_to_verify_is_not_cached() -> None:
    roots: list[list[bytes]] = [[ROOT.der]]

    def read_once_it_works() -> list[bytes]:
        if len(roots) == 1:
            roots.append([])
            raise OSError("the machine has no file left")
        return roots[0]

    verifier = PkixVerifier(read_once_it_works)
    with pytest.raises(OSError, match="no file left"):
        await verifier.verify(GOOD.chain, NAME)
    assert await verifier.verify(GOOD.chain, NAME)


async def test_a_canceled_caller_does_not_cancel_the_verification_for_others() -> None:
    verifier = PkixVerifier(lambda: [ROOT.der])
    first, second = (asyncio.create_task(verifier.verify(GOOD.chain, NAME)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second


def test_the_certificate_authorities_of_the_machine_can_be_read() -> None:
    roots = system_roots()
    assert tls_chain.create_trust_store(roots) is not None or not roots


async def test_records_are_matched_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def matches(*_: object, **__: object) -> bool:
        threads.append(threading.current_thread())
        return True

    monkeypatch.setattr(tlsa, "matches", matches)
    requirement = TlsRequirement(DANE, tlsa=(Tlsa(3, 1, 1, b"x" * 32),))
    async with SmtpPeer(tls=GOOD.context()) as peer:
        dialer = SmtpDialer(SmtpTimeouts(), PkixVerifier(lambda: [ROOT.der]))
        host = DialTarget(NAME, peer.port, ("127.0.0.1",), requirement=requirement)
        session = await dialer.dial(host, sources=(), ehlo="out.sender.example")
        session.abort()
    assert threads
    assert threading.main_thread() not in threads
