"""The hosts that the SMTP client dials."""

from dataclasses import dataclass

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
