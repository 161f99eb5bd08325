"""The listener of the return path, as the settings ask for it."""

from collections.abc import Callable
from typing import Protocol

from kernel.connection_limit import ConnectionLimiter
from kernel.crypto import derived_key
from kernel.proxy_protocol import client_behind
from kernel.session_connection import ConnectionConfig, Deadlines, SessionConnection
from kernel.session_server import SessionServer
from kernel.tls import Certificates
from mail.reachable import membership, parse_networks
from mail.smtp_server import ServerSession
from mail.smtp_server_events import Event, ServerConfig
from services.delivery.api.return_path.receiver import (
    ReturnAddresses,
    ReturnPathDependencies,
    ReturnPathSession,
)

OCTETS_MAX = 100 << 20  # a server may return the message that it could not deliver, whole
KEPT_MAX = 1 << 20  # of each: the report precedes the returned message
RECIPIENTS_MAX = 10  # a report is about one message
DEADLINES = Deadlines(command_s=300.0, message_s=300.0, session_s=900.0)


class ReturnPathSettings(Protocol):
    """The settings of the return path; see those of delivery."""

    secret_keys: list[str]
    return_path_listen: str
    return_path_hostname: str
    return_path_connections_max: int
    return_path_client_connections_max: int
    return_path_proxies: list[str]
    feedback_addresses: list[str]


def return_addresses(settings: ReturnPathSettings) -> ReturnAddresses:
    return ReturnAddresses(
        tuple(derived_key(key, "return path") for key in settings.secret_keys),
        frozenset(settings.feedback_addresses),
    )


def create_return_path(
    settings: ReturnPathSettings,
    dependencies: ReturnPathDependencies,
    certificates: Certificates | None,
    *,
    name_of: Callable[[str], str],
) -> SessionServer[Event]:
    """name_of: the server's name, by the host that the client names in TLS. Raises ConfigError."""
    server = ServerConfig(
        settings.return_path_hostname,
        OCTETS_MAX,
        KEPT_MAX,
        recipients_max=RECIPIENTS_MAX,
        starttls=certificates is not None,
        login=False,
    )
    context = certificates.context() if certificates is not None else None
    config = ConnectionConfig(context, name_of, DEADLINES)
    limit = ConnectionLimiter(
        settings.return_path_connections_max, settings.return_path_client_connections_max
    )

    def connect(client: str) -> SessionConnection[Event]:
        receiver = ReturnPathSession(dependencies, client)
        return SessionConnection(ServerSession(server, secure=False), receiver, config)

    client_of = client_behind(membership(parse_networks(settings.return_path_proxies)))
    return SessionServer(settings.return_path_listen, connect, limit, client_of=client_of)
