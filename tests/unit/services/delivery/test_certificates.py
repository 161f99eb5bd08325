"""The report on a server's certificate when TLS is opportunistic."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kernel import clock
from mail import tls_chain
from services.delivery.clients.smtp import certificates
from services.delivery.clients.smtp.certificates import Certificates, system_roots
from services.delivery.clients.smtp.dial import DialTarget, SmtpDialer
from services.delivery.clients.smtp.timeouts import Timeouts
from services.delivery.domain.attempt_result import RemoteServer
from tests.support.authority import DAY, Certified
from tests.support.smtp_peer import SmtpPeer, self_signed

NAME = "mx1.receiver.example"
ROOT = Certified.root("root")
GOOD = ROOT.authority("between").server(NAME)


def dialed(context: ssl.SSLContext) -> RemoteServer:
    async def story() -> RemoteServer:
        async with SmtpPeer(tls=context) as peer:
            dialer = SmtpDialer(Timeouts(), Certificates(lambda: [ROOT.der]))
            host = DialTarget(NAME, peer.port, ("127.0.0.1",))
            session = await dialer.dial(host, sources=(), ehlo="out.sender.example")
            session.abort()
            return session.peer

    return asyncio.run(story())


def test_a_server_that_proves_its_name_is_told_so() -> None:
    peer = dialed(GOOD.context())
    assert peer.tls.startswith("TLS")
    assert peer.verified


@pytest.mark.parametrize(
    "made",
    {
        "another name": lambda: ROOT.server("mx2.receiver.example").context(),
        "expired": lambda: ROOT.server(NAME, since=-3 * DAY, until=-DAY).context(),
        "somebody of whom nobody knows": self_signed,
    }.items(),
    ids=lambda item: item[0],
)
def test_a_server_that_does_not_is_spoken_to_all_the_same(
    made: tuple[str, Callable[[], ssl.SSLContext]],
) -> None:
    peer = dialed(made[1]())
    assert peer.tls.startswith("TLS")
    assert not peer.verified


Story = Callable[[Certificates], Awaitable[None]]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that certificates were looked at for."""
    seen: list[str] = []
    proves = tls_chain.proves

    def look(chain: list[bytes], name: str, **more: Any) -> bool:  # noqa: ANN401
        seen.append(name)
        return proves(chain, name, **more)

    monkeypatch.setattr(tls_chain, "proves", look)
    return seen


def test_a_chain_is_looked_at_once_for_each_host(looks: list[str]) -> None:
    async def story() -> None:
        made = Certificates(lambda: [ROOT.der])
        assert await asyncio.gather(*(made.prove(GOOD.chain, NAME) for _ in range(9))) == [True] * 9
        assert await made.prove(GOOD.chain, NAME)
        assert not await made.prove(GOOD.chain, "mx2.receiver.example")

    asyncio.run(story())
    assert sorted(looks) == [NAME, "mx2.receiver.example"]


def test_what_was_found_holds_for_an_hour(
    looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s[0])

    async def story() -> None:
        made = Certificates(lambda: [ROOT.der])
        for later_s in (0.0, certificates.HOLDS_S - 1, 1.0):
            now_s[0] += later_s
            await made.prove(GOOD.chain, NAME)

    asyncio.run(story())
    assert len(looks) == 2


def test_the_memory_of_chains_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "CHAINS_MAX", 3)

    async def story() -> None:
        made = Certificates(lambda: [ROOT.der])
        for number in range(5):
            await made.prove(GOOD.chain, f"mx{number}.receiver.example")
        assert len(made._known) == 3

    asyncio.run(story())


def test_who_gives_up_takes_nobodys_answer_along() -> None:
    async def story() -> None:
        made = Certificates(lambda: [ROOT.der])
        first, second = (asyncio.create_task(made.prove(GOOD.chain, NAME)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second

    asyncio.run(story())


def test_the_authorities_of_the_machine_can_be_read() -> None:
    roots = system_roots()
    assert tls_chain.store(roots) is not None or not roots
