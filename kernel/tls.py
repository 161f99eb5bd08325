"""TLS of servers: certificates from files, which are read again when they change."""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from kernel.errors import ConfigError

CHECK_INTERVAL_S = 5.0

logger = logging.getLogger(__name__)


class Certificate:
    """The certificate chain and the private key of a server, in PEM files.

    Contexts from `context` serve the newest pair of files that fit together.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises ConfigError if the files are missing, or do not fit together."""
        self._certificate = certificate
        self._key = key
        self._read = self._stamp()
        try:
            self._current = self._load()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"Cannot use the certificate {certificate} with the key {key}: {error}."
            ) from error

    def context(
        self, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2, *, alpn: Sequence[str] = ()
    ) -> ssl.SSLContext:
        """A context for a listener."""
        context = self._load()
        context.minimum_version = minimum
        if alpn:
            context.set_alpn_protocols(list(alpn))
        context.sni_callback = self._select
        return context

    async def watch(self) -> None:
        """A loop: read the files again when they have changed."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            self.reload()

    def reload(self) -> None:
        """Read the files again if they have changed. A pair that does not fit together, such as one
        that is being replaced, is read again later."""
        stamp = self._stamp()
        if stamp == self._read:
            return
        try:
            self._current = self._load()
        except (OSError, ValueError) as error:
            logger.warning("tls.certificate_unusable", extra={"error": str(error)})
            return
        self._read = stamp
        logger.info("tls.certificate_read", extra={"file": str(self._certificate)})

    def _select(self, connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate, self._key)
        return context

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(_stamp_of(path) for path in (self._certificate, self._key))


def _stamp_of(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return found.st_mtime_ns, found.st_ino, found.st_size
