"""The hosts that the SMTP client dials, and where it dials them from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from services.delivery.clients.smtp.session import SmtpSession
from services.delivery.domain.attempt_result import AttemptResult
from services.delivery.domain.tls_policy import OPPORTUNISTIC_TLS, TlsRequirement

SocketAddress = tuple[str, int]  # an address and a port


@dataclass(frozen=True, slots=True)
class DialTarget:
    """An MX host with the addresses to dial: one, or one of each IP version. requirement: what the
    connection must have."""

    name: str
    port: int
    ips: tuple[str, ...]
    requirement: TlsRequirement = OPPORTUNISTIC_TLS

    @property
    def socket_addresses(self) -> list[SocketAddress]:
        return [(ip, self.port) for ip in self.ips]


class DialSource(NamedTuple):
    """Where connections come from: at most one address of each IP version; none lets the system
    choose. egress_host: the machine that owns the addresses; empty: this one."""

    addresses: Sequence[str]
    ehlo: str
    egress_host: str = ""


class SessionDialer(Protocol):
    """Opens connections; see clients.smtp.dial.SmtpDialer."""

    async def dial(
        self, host: DialTarget, *, sources: Sequence[str], ehlo: str, egress_host: str = ""
    ) -> SmtpSession:
        """Raises ConnectFailed."""

    async def confirm(
        self, result: AttemptResult, *, sources: Sequence[str], egress_host: str
    ) -> AttemptResult:
        """The result of a connection; that of its egress host, if that broke it."""
