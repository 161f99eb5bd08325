"""The listeners of submission, as the settings ask for them."""

import ssl
from functools import partial
from typing import Protocol

from kernel.brand import Brands
from kernel.connection_limit import ConnectionLimiter
from kernel.proxy_protocol import client_behind
from kernel.service import Loop
from kernel.session_connection import ConnectionConfig, Deadlines, SessionConnection
from kernel.session_server import SessionServer
from kernel.tls import Certificates
from mail.reachable import membership, parse_networks
from mail.smtp_server import ServerSession
from mail.smtp_server_events import Event, ServerConfig
from services.ingest.api.acceptance import Acceptance
from services.ingest.api.access import AccessControl
from services.ingest.api.administration.mailboxes import SmtpHost
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.submission.submitter import SubmissionDependencies, SubmissionResponder
from services.ingest.domain.login_throttle import LoginThrottle
from services.ingest.domain.reserved import SpecialUseDomains

DEADLINES = Deadlines(login_s=120.0)


class SubmissionSettings(Protocol):
    """The settings of submission; see those of ingest."""

    submission_listen: str
    submission_tls_listen: str
    submission_hostname: str
    submission_public_port: int
    submission_tls_public_port: int
    submission_proxies: list[str]
    submission_message_mb_max: int
    submission_connections_max: int
    submission_client_connections_max: int


def create_submission(
    settings: SubmissionSettings,
    certificates: Certificates | None,
    *,
    brands: BrandResolver,
    access: AccessControl,
    acceptance: Acceptance,
    recipient_domains: SpecialUseDomains,
) -> list[Loop]:
    """The loops of the listeners that have an address. Raises ConfigError."""
    if certificates is None:
        return []
    octets_max = settings.submission_message_mb_max * 1024 * 1024
    context = certificates.context()
    config = ConnectionConfig(context, brands.smtp_host_at, DEADLINES)
    dependencies = SubmissionDependencies(
        access, acceptance, LoginThrottle(), recipient_domains, brands
    )

    def connect(client: str, *, secure: bool) -> SessionConnection[Event]:
        server = ServerConfig(neutral_host(settings, brands.all), octets_max)
        session = ServerSession(server, secure=secure)
        return SessionConnection(session, SubmissionResponder(dependencies, client), config)

    limit = ConnectionLimiter(
        settings.submission_connections_max, settings.submission_client_connections_max
    )
    client_of = client_behind(membership(parse_networks(settings.submission_proxies)))
    listens: list[tuple[str, ssl.SSLContext | None]] = [
        (settings.submission_listen, None),
        (settings.submission_tls_listen, context),
    ]
    return [
        SessionServer(
            listen, partial(connect, secure=tls is not None), limit, tls=tls, client_of=client_of
        ).run
        for listen, tls in listens
        if listen
    ]


def neutral_host(settings: SubmissionSettings, brands: Brands) -> str:
    """The name for clients whose brand is not known yet: among several brands, that of none."""
    return brands.neutral.smtp_host or settings.submission_hostname


def default_host(settings: SubmissionSettings, brands: Brands) -> str:
    return brands.default.smtp_host or settings.submission_hostname


def smtp_host(settings: SubmissionSettings, brands: Brands) -> SmtpHost:
    """The settings for mail programs, of accounts without a brand of their own."""
    return SmtpHost(
        default_host(settings, brands),
        settings.submission_public_port or port_of(settings.submission_listen),
        settings.submission_tls_public_port or port_of(settings.submission_tls_listen),
    )


def port_of(listen: str) -> int:
    """0 without an address."""
    return int(listen.rpartition(":")[2] or 0)
