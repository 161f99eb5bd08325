"""The listeners of submission, as the settings ask for them."""

from typing import Protocol

from kernel.brand import Brands
from kernel.service import Loop
from kernel.tls import Certificates
from mail.reachable import parse_networks
from mail.smtp_server_events import ServerConfig
from services.ingest.api.acceptance import Acceptance
from services.ingest.api.access import AccessControl
from services.ingest.api.administration.mailboxes import SmtpHost
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.submission.server import (
    ConnectionLimit,
    SubmissionConfig,
    SubmissionServer,
)
from services.ingest.api.submission.submitter import SubmissionDependencies
from services.ingest.domain.login_throttle import LoginThrottle
from services.ingest.domain.reserved import RecipientDomains


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
    recipient_domains: RecipientDomains,
) -> list[Loop]:
    """The loops of the listeners that have an address. Raises ConfigError."""
    listens = [(settings.submission_listen, False), (settings.submission_tls_listen, True)]
    if certificates is None:
        return []
    octets_max = settings.submission_message_mb_max * 1024 * 1024
    config = SubmissionConfig(
        lambda: ServerConfig(neutral_host(settings, brands.all), octets_max),
        certificates.context(),
        brands.smtp_host_at,
        parse_networks(settings.submission_proxies),
    )
    dependencies = SubmissionDependencies(
        access, acceptance, LoginThrottle(), recipient_domains, brands
    )
    limit = ConnectionLimit(
        settings.submission_connections_max, settings.submission_client_connections_max
    )
    servers = [
        SubmissionServer(
            listen, config, dependencies=dependencies, limit=limit, implicit_tls=implicit_tls
        )
        for listen, implicit_tls in listens
        if listen
    ]
    return [server.run for server in servers]


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
