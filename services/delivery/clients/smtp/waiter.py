"""A message that waits for a connection, and the connections that it can use."""

import asyncio
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from contracts.ingest.v1.events_pb2 import PRIORITY_BULK
from contracts.router.v1.events_pb2 import DeliveryAssigned
from services.delivery.clients.smtp.dial_target import SocketAddress
from services.delivery.clients.smtp.session import SmtpSession
from services.delivery.domain.attempt_result import AttemptResult
from services.delivery.domain.host_policy import port_of
from services.delivery.domain.tls_policy import TlsPolicy


@dataclass(eq=False, slots=True)
class ConnectionWaiter:
    """A message that waits for a connection. tried: addresses that it has used. until_s: its
    deadline. policy: what the connection must have. not_before_s: when a connection may be opened.
    refused: the reply of a host that it has connected to meanwhile. hosts: that its policy allows,
    with their preferences.
    """

    assignment: DeliveryAssigned
    tried: AbstractSet[SocketAddress]
    until_s: float
    found: "asyncio.Future[SmtpSession]"
    policy: TlsPolicy
    opening: bool = False
    not_before_s: float = 0.0
    refused: AttemptResult | None = None
    hosts: dict[tuple[str, int], int] = field(init=False)

    def __post_init__(self) -> None:
        self.hosts = {
            (one.host, port_of(one)): one.preference
            for one in self.assignment.mx_hosts
            if self.policy.refusal(one.host) is None
        }

    @property
    def is_express(self) -> bool:
        return self.assignment.priority != PRIORITY_BULK

    def can_use(self, session: SmtpSession) -> bool:
        """Whether it is a connection to a host of the message, at an address not tried yet, with
        what the policy requires."""
        return (
            (session.peer.mx, session.port) in self.hosts
            and (session.peer.remote_ip, session.port) not in self.tried
            and self.policy.requirement(session.peer.mx).is_met(session.peer)
        )

    def preference_of(self, session: SmtpSession) -> int:
        """Of the host of a session that it can use."""
        return self.hosts[session.peer.mx, session.port]
