"""Verifies server certificates. The result is recorded with each attempt; only messages that must
have a valid one refuse a server."""

import asyncio
import ssl
from _ssl import ENCODING_DER
from collections.abc import Callable, Sequence
from hashlib import sha256

from cryptography.x509.verification import Store

from kernel import clock
from kernel.cache import Cache
from mail import tls_chain

CHAINS_MAX = 10_000  # cached results
CACHE_TTL_S = 3600.0


def system_roots() -> list[bytes]:
    """The certificate authorities that this machine trusts, as DER."""
    return ssl.create_default_context().get_ca_certs(binary_form=True)


class PkixVerifier:
    """Verifies a chain for a host once, in a thread, because it takes some milliseconds."""

    def __init__(self, roots: Callable[[], Sequence[bytes]] = system_roots) -> None:
        self._roots = roots
        self._trusted: list[Store | None] = []  # loaded with the first certificate
        self._cache: Cache[bool] = Cache(self._fetch, entries_max=CHAINS_MAX)

    async def verify(self, chain: Sequence[bytes], name: str) -> bool:
        """Whether the chain is trusted and valid for the host name."""
        key = f"{sha256(b''.join(chain)).hexdigest()} {name}"
        return await self._cache.get(key, chain, name)

    async def _fetch(self, _: str, chain: Sequence[bytes], name: str) -> tuple[bool, float]:
        return await asyncio.to_thread(self._verify, chain, name), CACHE_TTL_S

    def _verify(self, chain: Sequence[bytes], name: str) -> bool:
        if not self._trusted:
            self._trusted = [tls_chain.create_trust_store(self._roots())]
        return tls_chain.is_valid_chain(chain, name, trusted=self._trusted[0], now=clock.now())


def chain_of(tls: ssl.SSLObject) -> list[bytes]:
    """The chain as the server sent it, as DER. Python 3.13 makes this method public."""
    sent = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
    return [one.public_bytes(ENCODING_DER) for one in sent or ()]
