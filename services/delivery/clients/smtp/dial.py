"""Opens SMTP connections, up to the reply to EHLO: RFC 5321 §3.1, RFC 3207.

Unless a policy requires TLS, it is opportunistic (RFC 7435): any certificate is accepted, because
the alternative is clear text. Whether the certificate is valid for the host is recorded. If the TLS
of a server is broken, this is logged and remembered, and messages are sent in clear text.
"""

import logging
from collections.abc import Sequence
from functools import partial

from kernel import metrics
from services.delivery.clients.smtp.broken_features import BrokenFeatures
from services.delivery.clients.smtp.certificates import PkixVerifier
from services.delivery.clients.smtp.dial_target import DialSource, DialTarget
from services.delivery.clients.smtp.egress_hosts import EgressHostDialer
from services.delivery.clients.smtp.handshake import ConnectFailed, SmtpHandshake
from services.delivery.clients.smtp.session import EhloExtensions, SmtpSession
from services.delivery.clients.smtp.timeouts import SmtpTimeouts
from services.delivery.clients.smtp.tls_contexts import lenient_context, strict_context
from services.delivery.domain.attempt_result import (
    STARTTLS,
    AttemptResult,
    ReceivingServer,
)
from services.delivery.domain.egress_host import is_lost_connection

logger = logging.getLogger(__name__)


class SmtpDialer:
    """Opens connections. Remembers for 15 minutes the hosts whose TLS or DSN does not work."""

    def __init__(
        self,
        timeouts: SmtpTimeouts,
        certificates: PkixVerifier | None = None,
        *,
        egress_hosts: EgressHostDialer | None = None,
    ) -> None:
        self._timeouts = timeouts
        self._egress_hosts = egress_hosts or EgressHostDialer("", None)
        self._lenient_tls, self._strict_tls = lenient_context(), strict_context()
        self._certificates = certificates or PkixVerifier()
        self.broken_tls = BrokenFeatures()
        self.broken_dsn = BrokenFeatures()

    async def dial(
        self, host: DialTarget, *, sources: Sequence[str], ehlo: str, egress_host: str = ""
    ) -> SmtpSession:
        """Open a session up to EHLO, with TLS if the server offers it and it works, or if the
        target requires it. egress_host: that owns the sources; empty: this machine does.

        Raises ConnectFailed.
        """
        source = DialSource(sources, ehlo, egress_host)
        if host.requirement.policy:
            return await self._dial(host, source, tls=True)
        try:
            return await self._dial(host, source, tls=host not in self.broken_tls)
        except ConnectFailed as failure:
            if failure.result.step != STARTTLS:
                raise
            logger.warning(
                "delivery.tls_broken",
                extra={"mx": host.name, "ip": host.ips[0], "problem": failure.result.problem},
            )
            if not is_tls_temporarily_unavailable(failure.result):
                self.broken_tls.add(host)
            return await self._dial(host, source, tls=False)

    async def confirm(
        self, result: AttemptResult, *, sources: Sequence[str], egress_host: str
    ) -> AttemptResult:
        """The result of a connection; that of its egress host, if that broke it."""
        if not egress_host or not is_lost_connection(result):
            return result
        return await self._egress_hosts.confirm(result, host=egress_host, sources=sources)

    async def _dial(self, host: DialTarget, source: DialSource, *, tls: bool) -> SmtpSession:
        handshake = SmtpHandshake(host, self._timeouts)
        if source.egress_host:
            await handshake.connect_through(self._egress_hosts, source)
        else:
            await handshake.connect(source.addresses)
        try:
            return await self._shake_hands(handshake, host, source, tls=tls)
        except ConnectFailed as failure:
            handshake.abort()
            result = await self.confirm(
                failure.result, sources=source.addresses, egress_host=source.egress_host
            )
            if result is failure.result:
                raise
            raise ConnectFailed(result) from failure
        except BaseException:
            handshake.abort()
            raise

    async def _shake_hands(
        self, handshake: SmtpHandshake, host: DialTarget, source: DialSource, *, tls: bool
    ) -> SmtpSession:
        await handshake.read_greeting()
        ehlo = source.ehlo or ehlo_literal(handshake.peer.local_ip)
        extensions = await handshake.send_ehlo(ehlo)
        if tls and "starttls" in extensions:
            required = host.requirement.policy
            await handshake.start_tls(self._strict_tls if required else self._lenient_tls)
            await handshake.verify_certificate(self._certificates)
        await handshake.check_requirement()
        if handshake.peer.tls:
            extensions = await handshake.send_ehlo(ehlo)
        metrics.smtp_connections_opened.inc()
        return SmtpSession(
            handshake.transport,
            peer=handshake.peer,
            port=host.port,
            extensions=parse_extensions(extensions, without_dsn=host in self.broken_dsn),
            timeouts=self._timeouts,
            on_dsn_refused=partial(self._on_dsn_refused, handshake.peer, host),
        )

    def _on_dsn_refused(self, peer: ReceivingServer, host: DialTarget) -> None:
        logger.warning("delivery.dsn_refused", extra={"mx": peer.mx, "ip": peer.remote_ip})
        self.broken_dsn.add(host)


def is_tls_temporarily_unavailable(result: AttemptResult) -> bool:
    """Whether TLS is unavailable only for now (454, RFC 3207 §4)."""
    return result.reply is not None and result.reply.is_transient


def ehlo_literal(ip: str) -> str:
    """The EHLO name of a host without a name (§4.1.3)."""
    return f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"


def parse_extensions(extensions: dict[str, str], *, without_dsn: bool = False) -> EhloExtensions:
    size = extensions.get("size")
    return EhloExtensions(
        pipelining="pipelining" in extensions,
        utf8="smtputf8" in extensions,
        eight_bit="8bitmime" in extensions,
        size=None if size is None else (int(size) if size.isascii() and size.isdigit() else 0),
        dsn="dsn" in extensions and not without_dsn,
    )
