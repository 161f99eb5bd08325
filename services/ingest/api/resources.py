"""What the REST and the gRPC API do, by resource: both call the same functions."""

from dataclasses import dataclass

from services.ingest.api.administration import Administration
from services.ingest.api.campaigns import CampaignResource
from services.ingest.api.domain_reports import DomainReportResource
from services.ingest.api.domains import DomainResource
from services.ingest.api.egress.limits import LimitResource
from services.ingest.api.egress.overrides import OverrideResource
from services.ingest.api.egress.owners import OwnerLookup
from services.ingest.api.egress.pools import PoolResource
from services.ingest.api.egress.router_client import EgressRouterClient
from services.ingest.api.egress.sources import SourceResource
from services.ingest.api.email_events import EmailEventResource
from services.ingest.api.emails import EmailResource
from services.ingest.api.exports import ExportResource
from services.ingest.api.health_checks import HealthResource
from services.ingest.api.held import HeldMailResource
from services.ingest.api.metrics import MetricsResource
from services.ingest.api.models import ModelResource
from services.ingest.api.queues import QueueResource
from services.ingest.api.recipients import ErasureResource
from services.ingest.api.reports import ReportResource
from services.ingest.api.request_log import RequestLogResource
from services.ingest.api.sandbox import SandboxResource
from services.ingest.api.scoring import ScoringResource
from services.ingest.api.suppression_files import SuppressionFileResource
from services.ingest.api.suppressions import SuppressionResource
from services.ingest.api.tenant_slots import TenantSlots
from services.ingest.api.usage import UsageResource
from services.ingest.api.webhook_events import WebhookEventResource
from services.ingest.api.webhooks import WebhookResource
from services.ingest.clients import ServiceClients


@dataclass(frozen=True, slots=True)
class ApiResources:
    """limits, pools, overrides and sources limit mail; the router owns them."""

    emails: EmailResource
    administration: Administration
    email_events: EmailEventResource
    exports: ExportResource
    held: HeldMailResource
    logs: RequestLogResource
    reports: ReportResource
    domains: DomainResource
    domain_reports: DomainReportResource
    metrics: MetricsResource
    suppressions: SuppressionResource
    suppression_files: SuppressionFileResource
    recipients: ErasureResource
    webhooks: WebhookResource
    webhook_events: WebhookEventResource
    queues: QueueResource
    sandbox: SandboxResource
    scoring: ScoringResource
    campaigns: CampaignResource
    models: ModelResource
    limits: LimitResource
    pools: PoolResource
    overrides: OverrideResource
    sources: SourceResource
    usage: UsageResource
    health: HealthResource


@dataclass(frozen=True, slots=True)
class StoredResources:
    """Those that ingest itself stores."""

    domains: DomainResource
    suppression_files: SuppressionFileResource
    logs: RequestLogResource
    recipients: ErasureResource
    health: HealthResource


def create_resources(
    clients: ServiceClients,
    emails: EmailResource,
    *,
    administration: Administration,
    own: StoredResources,
    slots: TenantSlots,
    requests_per_s: int,
) -> ApiResources:
    """slots: of streams. requests_per_s: the limit of an API key."""
    directory, audit_log = administration.directory, administration.audit_log
    router = EgressRouterClient(clients)
    owners = OwnerLookup(directory, router)
    overrides = OverrideResource(router, directory, audit_log, owners=owners)
    return ApiResources(
        *(emails, administration),
        email_events=EmailEventResource(clients, slots),
        exports=ExportResource(clients),
        held=HeldMailResource(clients),
        logs=own.logs,
        reports=ReportResource(clients),
        domains=own.domains,
        domain_reports=DomainReportResource(clients, own.domains),
        metrics=MetricsResource(clients, directory),
        suppressions=SuppressionResource(clients, audit_log),
        suppression_files=own.suppression_files,
        recipients=own.recipients,
        webhooks=WebhookResource(clients, directory),
        webhook_events=WebhookEventResource(clients),
        queues=QueueResource(clients, emails),
        sandbox=SandboxResource(clients),
        scoring=ScoringResource(clients),
        campaigns=CampaignResource(clients),
        models=ModelResource(clients, audit_log),
        limits=LimitResource(router, owners, audit_log),
        pools=PoolResource(router, directory, audit_log, owners=owners),
        overrides=overrides,
        sources=SourceResource(router, directory, audit_log, overrides=overrides, owners=owners),
        usage=UsageResource(clients, directory, administration.plans, rate=requests_per_s),
        health=own.health,
    )
