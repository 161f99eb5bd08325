"""Whether a host name leads to this installation, with a certificate that is valid for how long."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from ssl import cert_time_to_seconds
from typing import NamedTuple

from kernel import clock
from kernel.host_challenge import PATH, HostChallenges, new_challenge
from services.ingest.clients import grpc_challenge
from services.ingest.domain.health_checks import HostTlsStatus

HTTPS = 443
HTTP2 = "h2"
TIMEOUT_S = 10.0
DAY_S = 86_400.0
RESPONSE_MAX = 16 * 1024
WORDS_MAX = 1_000
ELSEWHERE = "leads to another server, or to an installation with other OBM_SECRET_KEYS"


class VerifiedConnection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def expires_s(self) -> float:
        """When the certificate ends, in seconds since 1970."""
        certificate = self.writer.get_extra_info("ssl_object").getpeercert()
        return float(cert_time_to_seconds(certificate["notAfter"]))

    @property
    def protocol(self) -> str | None:
        """Which the server has chosen (ALPN)."""
        chosen: str | None = self.writer.get_extra_info("ssl_object").selected_alpn_protocol()
        return chosen

    async def read_until(self, is_enough: Callable[[bytes], bool]) -> bytes:
        """What the server sends until then, until it closes, or until it is too much."""
        received = b""
        while len(received) < RESPONSE_MAX and not is_enough(received):
            if not (chunk := await self.reader.read(RESPONSE_MAX)):
                break
            received += chunk
        return received


class HostProber:
    """create_tls: for clients; port: of HTTPS and gRPC."""

    def __init__(
        self,
        challenges: HostChallenges,
        create_tls: Callable[[], ssl.SSLContext] | None = None,
        *,
        port: int = HTTPS,
    ) -> None:
        self._challenges = challenges
        self._create_tls = create_tls or ssl.create_default_context
        self._port = port

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made for the first host: to read all authorities takes 30 ms."""
        return self._create_tls()

    @cached_property
    def _tls_of_grpc(self) -> ssl.SSLContext:
        context = self._create_tls()
        context.set_alpn_protocols([HTTP2])
        return context

    async def look(self, host: str) -> HostTlsStatus:
        if (addresses := await self.addresses_of(host)) is None:
            return HostTlsStatus(host, None)
        if not addresses:
            return HostTlsStatus(host, "has no address")
        return await self._look(host)

    async def _look(self, host: str) -> HostTlsStatus:
        try:
            expires_s, is_ours = await self._verify(host)
        except TimeoutError:
            return HostTlsStatus(host, f"does not respond at port {self._port}")
        except ssl.SSLCertVerificationError as error:
            return HostTlsStatus(host, f"its certificate is not valid: {error.verify_message}")
        except socket.gaierror:  # the name had an address just before
            return HostTlsStatus(host, None)
        except OSError as error:
            return HostTlsStatus(host, error.strerror or str(error))
        problem = "" if is_ours else ELSEWHERE
        return HostTlsStatus(host, problem, (expires_s - clock.now().timestamp()) / DAY_S)

    async def _verify(self, host: str) -> tuple[float, bool]:
        """When the certificate ends, in seconds since 1970, and whether it responds to a challenge,
        by HTTP or by gRPC: the host may serve one of them alone. Raises OSError."""
        try:
            expires_s, is_ours = await self._challenge_by_http(host)
        except (ssl.SSLCertVerificationError, TimeoutError, socket.gaierror):
            raise
        except OSError:  # a gRPC server ends a connection without HTTP/2
            return await self._challenge_by_grpc(host)
        if not is_ours:
            with suppress(OSError):
                expires_s, is_ours = await self._challenge_by_grpc(host)
        return expires_s, is_ours

    async def _challenge_by_http(self, host: str) -> tuple[float, bool]:
        challenge = new_challenge()
        head = f"GET {PATH}{challenge} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        async with asyncio.timeout(TIMEOUT_S), self._connected(host, self._tls) as connection:
            connection.writer.write(head.encode())
            received = await connection.read_until(lambda _: False)
            expires_s = connection.expires_s
        words = received.decode("latin-1").split()  # a proxy may send the body in chunks
        is_ours = any(self._challenges.is_response(one, challenge) for one in words[:WORDS_MAX])
        return expires_s, is_ours

    async def _challenge_by_grpc(self, host: str) -> tuple[float, bool]:
        challenge, received = new_challenge(), b""
        async with (
            asyncio.timeout(TIMEOUT_S),
            self._connected(host, self._tls_of_grpc) as connection,
        ):
            if connection.protocol == HTTP2:
                connection.writer.write(grpc_challenge.call(host, challenge))
                received = await connection.read_until(grpc_challenge.is_ended)
            expires_s = connection.expires_s
        response = grpc_challenge.response_in(received)
        return expires_s, self._challenges.is_response(response, challenge)

    @asynccontextmanager
    async def _connected(self, host: str, tls: ssl.SSLContext) -> AsyncIterator[VerifiedConnection]:
        """Raises OSError."""
        reader, writer = await asyncio.open_connection(
            host, self._port, ssl=tls, server_hostname=host
        )
        try:
            yield VerifiedConnection(reader, writer)
        finally:
            writer.transport.abort()  # a server that is not done would let a close wait for it

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
