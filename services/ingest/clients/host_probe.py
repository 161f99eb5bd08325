"""Whether a host name leads to a server with a valid certificate, and for how long it is valid."""

import asyncio
import socket
import ssl
from contextlib import suppress
from functools import cached_property
from ssl import cert_time_to_seconds

from kernel import clock
from services.ingest.domain.health_checks import HostFacts

HTTPS = 443
TIMEOUT_S = 10.0
DAY_S = 86_400.0


class HostProbe:
    """tls: of clients; port: of HTTPS."""

    def __init__(self, tls: ssl.SSLContext | None = None, *, port: int = HTTPS) -> None:
        self._given_tls = tls
        self._port = port

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made for the first host: to read all authorities takes 30 ms."""
        return self._given_tls or ssl.create_default_context()

    async def look(self, host: str) -> HostFacts:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                expires_s = await self._certificate_end(host)
        except TimeoutError:
            return HostFacts(host, f"does not respond at port {self._port}")
        except ssl.SSLCertVerificationError as error:
            return HostFacts(host, f"its certificate is not valid: {error.verify_message}")
        except OSError as error:  # socket.gaierror is one
            return HostFacts(host, error.strerror or str(error))
        return HostFacts(host, "", (expires_s - clock.now().timestamp()) / DAY_S)

    async def _certificate_end(self, host: str) -> float:
        """Seconds since 1970. Raises OSError."""
        _, writer = await asyncio.open_connection(
            host, self._port, ssl=self._tls, server_hostname=host
        )
        certificate = writer.get_extra_info("ssl_object").getpeercert()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return float(cert_time_to_seconds(certificate["notAfter"]))

    @staticmethod
    async def addresses_of(host: str) -> list[str] | None:
        """None: the lookup failed."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except TimeoutError:
            return None
        except socket.gaierror as error:
            return [] if error.errno in NO_ADDRESS else None
        return sorted({str(one[4][0]) for one in found})


NO_ADDRESS = {socket.EAI_NONAME, socket.EAI_NODATA}
