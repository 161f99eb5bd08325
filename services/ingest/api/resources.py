"""What the REST and the gRPC API do, by resource: both call the same functions."""

from dataclasses import dataclass

from services.ingest.api.administration import Administration
from services.ingest.api.campaigns import Campaigns
from services.ingest.api.domain_reports import DomainReports
from services.ingest.api.domains import Domains
from services.ingest.api.egress.limits import Limits
from services.ingest.api.egress.overrides import Overrides
from services.ingest.api.egress.owners import Owners
from services.ingest.api.egress.pools import Pools
from services.ingest.api.egress.router_client import EgressRouterClient
from services.ingest.api.egress.sources import EgressSources
from services.ingest.api.email_events import EmailEvents
from services.ingest.api.emails import Emails
from services.ingest.api.exports import Exports
from services.ingest.api.health_checks import HealthReports
from services.ingest.api.held import HeldMail
from services.ingest.api.metrics import EmailMetrics
from services.ingest.api.models import Models
from services.ingest.api.queues import Queues
from services.ingest.api.recipients import Recipients
from services.ingest.api.reports import Reports
from services.ingest.api.request_log import RequestLogs
from services.ingest.api.sandbox import Sandbox
from services.ingest.api.scoring import Scoring
from services.ingest.api.suppression_files import SuppressionFiles
from services.ingest.api.suppressions import Suppressions
from services.ingest.api.tenant_slots import TenantSlots
from services.ingest.api.usage import UsageReports
from services.ingest.api.webhook_events import WebhookEvents
from services.ingest.api.webhooks import Webhooks
from services.ingest.clients import ServiceClients


@dataclass(frozen=True, slots=True)
class Resources:
    """limits, pools, overrides and sources limit mail; the router owns them."""

    emails: Emails
    administration: Administration
    email_events: EmailEvents
    exports: Exports
    held: HeldMail
    logs: RequestLogs
    reports: Reports
    domains: Domains
    domain_reports: DomainReports
    metrics: EmailMetrics
    suppressions: Suppressions
    suppression_files: SuppressionFiles
    recipients: Recipients
    webhooks: Webhooks
    webhook_events: WebhookEvents
    queues: Queues
    sandbox: Sandbox
    scoring: Scoring
    campaigns: Campaigns
    models: Models
    limits: Limits
    pools: Pools
    overrides: Overrides
    sources: EgressSources
    usage: UsageReports
    health: HealthReports


@dataclass(frozen=True, slots=True)
class OwnResources:
    """Those that ingest itself stores."""

    domains: Domains
    suppression_files: SuppressionFiles
    logs: RequestLogs
    recipients: Recipients
    health: HealthReports


def create_resources(
    clients: ServiceClients,
    emails: Emails,
    *,
    administration: Administration,
    own: OwnResources,
    slots: TenantSlots,
    requests_per_s: int,
) -> Resources:
    """slots: of streams. requests_per_s: the limit of an API key."""
    directory, audit_log = administration.directory, administration.audit_log
    router = EgressRouterClient(clients)
    owners = Owners(directory, router)
    overrides = Overrides(router, directory, audit_log, owners=owners)
    return Resources(
        *(emails, administration),
        email_events=EmailEvents(clients, slots),
        exports=Exports(clients),
        held=HeldMail(clients),
        logs=own.logs,
        reports=Reports(clients),
        domains=own.domains,
        domain_reports=DomainReports(clients, own.domains),
        metrics=EmailMetrics(clients, directory),
        suppressions=Suppressions(clients, audit_log),
        suppression_files=own.suppression_files,
        recipients=own.recipients,
        webhooks=Webhooks(clients, directory),
        webhook_events=WebhookEvents(clients),
        queues=Queues(clients, emails),
        sandbox=Sandbox(clients),
        scoring=Scoring(clients),
        campaigns=Campaigns(clients),
        models=Models(clients, audit_log),
        limits=Limits(router, owners, audit_log),
        pools=Pools(router, directory, audit_log, owners=owners),
        overrides=overrides,
        sources=EgressSources(router, directory, audit_log, overrides=overrides, owners=owners),
        usage=UsageReports(clients, directory, administration.plans, rate=requests_per_s),
        health=own.health,
    )
