"""What the certificates of servers prove. It is recorded with each attempt, and refuses nobody."""

import asyncio
import ssl
from _ssl import ENCODING_DER
from collections.abc import Callable, Sequence
from hashlib import sha256

from cryptography.x509.verification import Store

from kernel import clock
from mail import tls_chain

CHAINS_MAX = 10_000  # that are remembered
HOLDS_S = 3600.0


def system_roots() -> list[bytes]:
    """The authorities that this machine trusts, as DER."""
    return ssl.create_default_context().get_ca_certs(binary_form=True)


class Certificates:
    """Looked at once for a host and a chain, in a thread: some milliseconds."""

    def __init__(self, roots: Callable[[], Sequence[bytes]] = system_roots) -> None:
        self._roots = roots
        self._trusted: list[Store | None] = []  # read with the first certificate
        self._known: dict[tuple[str, bytes], tuple[asyncio.Task[bool], float]] = {}

    async def prove(self, chain: Sequence[bytes], name: str) -> bool:
        """Whether a client that checks certificates would have gone on."""
        key = name, sha256(b"".join(chain)).digest()
        task, until_s = self._known.get(key, (None, 0.0))
        if task is None or until_s <= clock.monotonic_s():
            task = asyncio.create_task(asyncio.to_thread(self._prove, chain, name))
            self._keep(key, task)
        return task.result() if task.done() else await asyncio.shield(task)

    def _keep(self, key: tuple[str, bytes], task: "asyncio.Task[bool]") -> None:
        self._known.pop(key, None)
        while len(self._known) >= CHAINS_MAX:
            del self._known[next(iter(self._known))]  # the oldest
        self._known[key] = task, clock.monotonic_s() + HOLDS_S

    def _prove(self, chain: Sequence[bytes], name: str) -> bool:
        if not self._trusted:
            self._trusted = [tls_chain.store(self._roots())]
        return tls_chain.proves(chain, name, trusted=self._trusted[0], now=clock.now())


def chain_of(tls: ssl.SSLObject) -> list[bytes]:
    """As the server sent it, as DER. From Python 3.13 on it is there for everybody."""
    sent = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
    return [one.public_bytes(ENCODING_DER) for one in sent or ()]
