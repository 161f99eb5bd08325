"""Wiring of the return path."""

from typing import TYPE_CHECKING

from contracts.ingest.v1.directory_pb2 import Domain
from kernel.brand import read_brands
from kernel.crypto import derived_key
from kernel.host_challenge import SMTP, HostChallenges
from kernel.service import Loop
from kernel.table import ReplicatedTable
from kernel.tls import Certificates
from mail.address import parse_mailbox
from services.delivery.api.return_path.domain_reports import DomainReportRecorder
from services.delivery.api.return_path.receiver import ReturnPathDependencies
from services.delivery.api.return_path.role_mail import RoleMailForwarder
from services.delivery.api.return_path.server import create_return_path, return_addresses
from services.delivery.app.tls import create_email_api
from services.delivery.clients.operator_mail import OperatorForwarder
from services.delivery.domain.hourly_allowance import HourlyAllowance
from services.delivery.domain.return_path_hosts import ReturnPathHosts
from services.delivery.settings import Settings

if TYPE_CHECKING:
    from services.delivery.app import Dependencies


def create_return_path_loops(deps: "Dependencies", domains: ReplicatedTable[Domain]) -> list[Loop]:
    """Raises ConfigError."""
    settings = deps.settings
    if not settings.return_path_listen:
        return []
    brands = read_brands(settings.brands_file)
    mx_hosts = {one.bounce_mx: one.bounce_mx for one in brands}
    files = settings.certificate()
    certificates = Certificates(files, brands.certificates) if files else None
    hosts = ReturnPathHosts(*map(str.lower, (settings.return_path_hostname, *mx_hosts)))
    domains.on_change(hosts.put)
    role_mail = RoleMailForwarder(
        hosts,
        domains.replayed,
        deps.operator_mail,
        HourlyAllowance(settings.operator_mail_per_hour_max),
    )
    reports = DomainReportRecorder(
        tuple(derived_key(key, "domain reports") for key in settings.secret_keys),
        domains,
        deps.report_reader,
        deps.system_database,
    )
    dependencies = ReturnPathDependencies(
        return_addresses(settings), HostChallenges(settings.secret_keys, SMTP), role_mail, reports,
        deps.mail_reader, deps.system_database, deps.outbox, deps.health,
    )  # fmt: skip
    return [
        create_return_path(
            settings, dependencies, certificates, name_of=lambda host: mx_hosts.get(host, "")
        ).run,
        *([certificates.watch] if certificates else []),
    ]


def create_operator_mail(settings: Settings) -> OperatorForwarder | None:
    """None if the operator named no address."""
    api = create_email_api(settings)
    if not settings.operator_mail_to or api is None:
        return None
    return OperatorForwarder(
        api,
        sender=parse_mailbox(settings.operator_mail_from),
        to=parse_mailbox(settings.operator_mail_to),
    )
