"""A connection before it becomes a session: from the first packet to the reply to EHLO."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import cast

from aiohappyeyeballs import AddrInfoType, start_connection
from aiosmtplib.errors import (
    SMTPException,
    SMTPReadTimeoutError,
    SMTPResponseException,
)
from aiosmtplib.esmtp import parse_esmtp_extensions
from aiosmtplib.protocol import SMTPProtocol
from aiosmtplib.response import SMTPResponse

from kernel import clock
from kernel.errors import Unavailable
from mail import smtp_reply, tls_chain, tlsa
from services.delivery.clients.smtp.certificates import PkixVerifier, chain_of
from services.delivery.clients.smtp.dial_target import DialSource, DialTarget
from services.delivery.clients.smtp.egress_hosts import EgressHostDialer, EgressHostFailed
from services.delivery.clients.smtp.timeouts import SmtpTimeouts
from services.delivery.domain.attempt_result import (
    CONNECT,
    EHLO,
    GREETING,
    STARTTLS,
    AttemptResult,
    ReceivingServer,
)
from services.delivery.domain.tls_policy import (
    TlsRequirement,
    handshake_failed,
    not_authenticated,
    starttls_missing,
)

HAPPY_EYEBALLS_DELAY_S = 0.25  # RFC 8305 §5
IP_BIND_ADDRESS_NO_PORT = 24  # Linux; Python names it from 3.12 on
# This machine lacks resources; the server is not at fault.
EXHAUSTED_ERRNOS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
NO_REPLY = -1  # aiosmtplib's code for data that is not a reply


class ConnectFailed(Exception):
    """No session was opened; `result` has the step that failed."""

    def __init__(self, result: AttemptResult) -> None:
        super().__init__(result.problem)
        self.result = result


class HandshakeProtocol(SMTPProtocol):
    """aiosmtplib's connection and TLS, with the reply parser that the session uses, too."""

    def __init__(self) -> None:
        super().__init__()
        self._parser = smtp_reply.ReplyParser()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._over_ssl = False  # the TLS of an egress host is not that of the server

    def data_received(self, data: bytes) -> None:
        waiter = self._response_waiter
        if waiter is None or waiter.done() or not self._response_pending:
            return  # no reply is expected
        if replies := self._parser.feed(data):
            text = b"\n".join(replies[0].lines).decode("utf-8", "surrogateescape")
            waiter.set_result(SMTPResponse(replies[0].code, text))
        elif self._parser.problem:
            error = SMTPResponseException(NO_REPLY, self._parser.problem)
            self._set_response_exception(waiter, error)


class SmtpHandshake:
    """A connection before it becomes a session."""

    def __init__(self, host: DialTarget, timeouts: SmtpTimeouts) -> None:
        self.host = host
        self.peer = ReceivingServer(mx=host.name, remote_ip=host.ips[0])
        self._timeouts = timeouts
        self._protocol: SMTPProtocol

    @property
    def transport(self) -> asyncio.Transport:
        if self._protocol.transport is None:
            raise ConnectFailed(self._result(EHLO, "the connection was closed"))
        return cast(asyncio.Transport, self._protocol.transport)

    @property
    def _ssl(self) -> ssl.SSLObject:
        return cast(ssl.SSLObject, self.transport.get_extra_info("ssl_object"))

    def abort(self) -> None:
        if self._protocol.transport is not None:
            cast(asyncio.Transport, self._protocol.transport).abort()

    async def connect(self, sources: Sequence[str]) -> None:
        try:
            async with asyncio.timeout(self._timeouts.connect_s):
                sock = await self._race(sources)
                transport, self._protocol = await asyncio.get_running_loop().create_connection(
                    HandshakeProtocol, sock=sock
                )
        except TimeoutError as error:
            raise ConnectFailed(self._result(CONNECT, "no connection in time")) from error
        except OSError as error:
            if error.errno in EXHAUSTED_ERRNOS:
                raise Unavailable(f"a socket for a connection ({error.strerror})") from error
            raise ConnectFailed(
                self._result(CONNECT, f"no connection: {error.strerror or error}")
            ) from error
        name, peer = (transport.get_extra_info(key) for key in ("sockname", "peername"))
        self.peer = replace(self.peer, local_ip=str(name[0]), remote_ip=str(peer[0]))

    async def connect_through(self, hosts: EgressHostDialer, source: DialSource) -> None:
        try:
            opened = await hosts.open(
                source.egress_host,
                source.addresses,
                self.host.socket_addresses,
                timeout_s=self._timeouts.connect_s,
            )
        except EgressHostFailed as failed:
            raise ConnectFailed(failed.result) from failed
        except OSError as error:
            raise ConnectFailed(self._result(CONNECT, f"no connection: {error}")) from error
        self._protocol = HandshakeProtocol()
        opened.tunnel.hand_over(self._protocol)
        self.peer = replace(self.peer, local_ip=opened.source, remote_ip=opened.destination)

    async def _race(self, sources: Sequence[str]) -> socket.socket:
        """Connect a socket from the source address of its family. IPv6 is tried in parallel if IPv4
        does not connect soon (RFC 8305)."""
        targets = [address_info(ip, self.host.port) for ip in self.host.ips]
        return await start_connection(
            targets,
            local_addr_infos=[address_info(source, 0) for source in sources] or None,
            happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S,
            socket_factory=make_socket,
        )

    async def read_greeting(self) -> None:
        try:
            response = await self._protocol.read_response(timeout=self._timeouts.greeting_s)
        except SMTPException as error:
            raise ConnectFailed(self._error_result(GREETING, error)) from error
        if response.code != 220:
            raise ConnectFailed(self._reply_result(GREETING, response))

    async def send_ehlo(self, name: str) -> dict[str, str]:
        """The extensions of the server; none if it supports only HELO (§4.1.1.1)."""
        response = await self._command(EHLO, b"EHLO", name)
        if response.code >= 500:
            response = await self._command(EHLO, b"HELO", name)
            if response.code == 250:
                return {}
        if response.code != 250:
            raise ConnectFailed(self._reply_result(EHLO, response))
        return parse_esmtp_extensions(response.message)[0]

    async def _command(self, step: str, verb: bytes, name: str) -> SMTPResponse:
        try:
            return await self._protocol.execute_command(
                verb, name.encode("ascii"), timeout=self._timeouts.ehlo_s
            )
        except (SMTPException, ValueError) as error:
            raise ConnectFailed(self._error_result(step, error)) from error

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Start TLS; aiosmtplib discards data that follows the reply in clear (RFC 3207 §4.2)."""
        try:
            await self._protocol.start_tls(
                context, server_hostname=self.host.name, timeout=self._timeouts.tls_s
            )
        except (SMTPException, ssl.SSLError, OSError, ValueError) as error:
            raise ConnectFailed(self._error_result(STARTTLS, error)) from error
        tls = self._ssl
        name, _, _ = tls.cipher() or ("", "", 0)
        certificate = sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()
        version = str(tls.version() or "")
        self.peer = replace(self.peer, tls=version, cipher=name, certificate=certificate)

    async def verify_certificate(self, certificates: PkixVerifier) -> None:
        chain, name = chain_of(self._ssl), self.host.name
        verified = await certificates.verify(chain, name)
        fault = None if verified else tls_chain.fault_of(chain, name, now=clock.now())
        self.peer = replace(self.peer, verified=verified, fault=fault)

    async def check_requirement(self) -> None:
        """Raises ConnectFailed if the connection does not have what the target requires."""
        requirement = self.host.requirement
        if requirement.tlsa and self.peer.tls and await self._matches(requirement):
            matched = (requirement.tlsa, requirement.names)
            self.peer = replace(self.peer, matched=matched)
        if requirement.is_met(self.peer):
            return
        peer, by_records = self._peer_at(STARTTLS), bool(requirement.tlsa)
        raise ConnectFailed(
            not_authenticated(peer, by_records=by_records) if peer.tls else starttls_missing(peer)
        )

    async def _matches(self, requirement: TlsRequirement) -> bool:
        """Whether the server's certificate is the one of a TLSA record. In a thread, because
        signatures of strangers can take long to verify."""
        return await asyncio.to_thread(_is_matched, chain_of(self._ssl), requirement)

    def _error_result(self, step: str, error: Exception) -> AttemptResult:
        if isinstance(error, SMTPResponseException) and error.code >= 200:
            return self._reply_result(step, SMTPResponse(error.code, error.message))
        if isinstance(error, SMTPReadTimeoutError):
            return self._result(step, "no reply in time")
        return self._result(step, str(error) or type(error).__name__)

    def _reply_result(self, step: str, response: SMTPResponse) -> AttemptResult:
        reply = smtp_reply.reply_from_text(response.code, response.message)
        return AttemptResult(step, reply, peer=self._peer_at(step))

    def _peer_at(self, step: str) -> ReceivingServer:
        policy = self.host.requirement.policy if step == STARTTLS else ""
        return replace(self.peer, policy=policy)

    def _result(self, step: str, problem: str) -> AttemptResult:
        peer = self._peer_at(step)
        if peer.policy:
            return handshake_failed(problem, peer)
        return AttemptResult(step, problem=problem, peer=peer)


def _is_matched(chain: Sequence[bytes], requirement: TlsRequirement) -> bool:
    found = tls_chain.read_chain(chain)
    return tlsa.matches(requirement.tlsa, found, requirement.names, now=clock.now())


def address_info(ip: str, port: int) -> AddrInfoType:
    """An address as getaddrinfo returns it."""
    if ":" in ip:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (ip, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (ip, port)


def make_socket(info: AddrInfoType) -> socket.socket:
    """A socket whose port is chosen when it connects, not when it is bound to a source address: so
    the limit of 28,000 ports applies per destination, and not per source address (ip(7))."""
    family, kind, proto, _, _ = info
    sock = socket.socket(family, kind, proto)
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    return sock
