"""Wiring of TLS policies and TLS reports."""

from dns.asyncresolver import Resolver

from kernel.addresses import AddressResolver
from kernel.database import Database
from kernel.dial import Dialer
from kernel.downloads import Downloader
from kernel.errors import ConfigError
from kernel.lease import Lease
from kernel.resolver import system_resolver
from mail.address import AddressError, Mailbox, canonical, parse_mailbox
from mail.reachable import address_policy, parse_networks
from mail.tls_rpt import ReportingOrganization
from services.delivery.clients.dane import DaneClient, validating_resolver
from services.delivery.clients.email_api import EmailApi
from services.delivery.clients.mta_sts import MtaStsClient
from services.delivery.clients.report_sender import TlsReportSender
from services.delivery.loops.tls_policies import TlsPolicyResolver
from services.delivery.loops.tls_reports import DailyTlsReporter, TlsSessionCounter
from services.delivery.settings import Settings
from services.delivery.store.mta_sts import MtaStsPolicyStore
from services.delivery.store.tls_reports import TlsReportStore

DNS_TIMEOUT_S = 10.0


def create_resolver(settings: Settings) -> Resolver:
    return system_resolver(
        settings.nameservers, timeout_s=DNS_TIMEOUT_S, setting="DELIVERY_NAMESERVERS"
    )


def create_tls_policies(
    settings: Settings, database: Database, resolver: Resolver, *, counter: TlsSessionCounter
) -> TlsPolicyResolver:
    """Raises ConfigError."""
    sender = report_sender_of(settings)
    source = dane = None
    if settings.mta_sts:
        source = MtaStsClient(resolver, Downloader(public_addresses(settings, resolver)))
    if settings.dnssec_nameservers:
        dane = DaneClient(validating_resolver(settings.dnssec_nameservers))
    return TlsPolicyResolver(
        source,
        MtaStsPolicyStore(database),
        counter=counter,
        dane=dane,
        exempt_sender=sender.address if sender is not None else "",
    )


def create_tls_reporter(
    settings: Settings, database: Database, resolver: Resolver
) -> DailyTlsReporter | None:
    """None if the operator sends no reports. Raises ConfigError."""
    if (contact := report_sender_of(settings)) is None:
        return None
    dialer = Dialer(public_addresses(settings, resolver))
    sender = TlsReportSender(resolver, dialer, api=create_email_api(settings))
    organization = settings.tls_report_organization or contact.domain
    return DailyTlsReporter(
        TlsReportStore(database),
        Lease(database, "delivery", "tls reports"),
        sender,
        reporter=ReportingOrganization(organization, contact.address),
    )


def create_email_api(settings: Settings) -> EmailApi | None:
    """None without a key."""
    if not settings.api_key:
        return None
    return EmailApi(Dialer(AddressResolver(lambda *_: True)), settings.api_url, settings.api_key)


def report_sender_of(settings: Settings) -> Mailbox | None:
    """Raises ConfigError."""
    if not settings.tls_report_from:
        return None
    try:
        return canonical(parse_mailbox(settings.tls_report_from))
    except AddressError as error:
        raise ConfigError(f"DELIVERY_TLS_REPORT_FROM: {error}") from error


def public_addresses(settings: Settings, resolver: Resolver) -> AddressResolver:
    """Resolves the hosts of strangers to public addresses, and those that the operator allows."""
    allowed = parse_networks(settings.relay_allowed_networks)
    return AddressResolver(address_policy(allowed), resolver=resolver)
