"""Whether a host name leads to this installation, with a certificate that is valid for how long."""

import asyncio
import socket
import ssl
from contextlib import suppress
from functools import cached_property
from ssl import cert_time_to_seconds

from kernel import clock
from kernel.host_challenge import PATH, HostChallenges, new_challenge
from services.ingest.domain.health_checks import HostVerification

HTTPS = 443
TIMEOUT_S = 10.0
DAY_S = 86_400.0
RESPONSE_MAX = 16 * 1024
WORDS_MAX = 1_000
ELSEWHERE = "leads to another server, or to an installation with other OBM_SECRET_KEYS"


class HostVerifier:
    """tls: of clients; port: of HTTPS."""

    def __init__(
        self, challenges: HostChallenges, tls: ssl.SSLContext | None = None, *, port: int = HTTPS
    ) -> None:
        self._challenges = challenges
        self._given_tls = tls
        self._port = port

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made for the first host: to read all authorities takes 30 ms."""
        return self._given_tls or ssl.create_default_context()

    async def look(self, host: str) -> HostVerification:
        if (addresses := await self.addresses_of(host)) is None:
            return HostVerification(host, None)
        if not addresses:
            return HostVerification(host, "has no address")
        return await self._look(host)

    async def _look(self, host: str) -> HostVerification:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                expires_s, is_ours = await self._connect(host)
        except TimeoutError:
            return HostVerification(host, f"does not respond at port {self._port}")
        except ssl.SSLCertVerificationError as error:
            return HostVerification(host, f"its certificate is not valid: {error.verify_message}")
        except socket.gaierror:  # the name had an address just before
            return HostVerification(host, None)
        except OSError as error:
            return HostVerification(host, error.strerror or str(error))
        problem = "" if is_ours else ELSEWHERE
        return HostVerification(host, problem, (expires_s - clock.now().timestamp()) / DAY_S)

    async def _connect(self, host: str) -> tuple[float, bool]:
        """When the certificate ends, in seconds since 1970, and whether it responds to a challenge.
        Raises OSError."""
        reader, writer = await asyncio.open_connection(
            host, self._port, ssl=self._tls, server_hostname=host
        )
        certificate = writer.get_extra_info("ssl_object").getpeercert()
        challenge = new_challenge()
        head = f"GET {PATH}{challenge} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        received = b""
        while len(received) < RESPONSE_MAX and (chunk := await reader.read(RESPONSE_MAX)):
            received += chunk
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        words = received.decode("latin-1").split()  # a proxy may send the body in chunks
        is_ours = any(self._challenges.is_response(one, challenge) for one in words[:WORDS_MAX])
        return float(cert_time_to_seconds(certificate["notAfter"])), is_ours

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
