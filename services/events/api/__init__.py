"""The gRPC API that ingest calls, one tenant at a time."""

from collections.abc import Awaitable, Callable, Mapping

from contracts.events.v1.events_service_pb2_grpc import EventsServiceServicer
from kernel.database import Database
from services.events.api.emails import EmailRpcs
from services.events.api.erasure import ErasureRpcs
from services.events.api.event_feed import EventFeed
from services.events.api.event_streams import EventStreamRpcs
from services.events.api.exports import ExportRpcs
from services.events.api.metrics import MetricsRpcs
from services.events.api.reports import ReportRpcs
from services.events.api.usage import UsageRpcs
from services.events.api.webhook_events import WebhookEventRpcs
from services.events.api.webhook_recoveries import WebhookRecoveryRpcs
from services.events.api.webhook_secrets import WebhookSecretRpcs
from services.events.api.webhooks import WebhookDependencies, WebhookRpcs


class EventsServicer(
    EmailRpcs,
    MetricsRpcs,
    UsageRpcs,
    EventStreamRpcs,
    ExportRpcs,
    ReportRpcs,
    WebhookRpcs,
    WebhookSecretRpcs,
    WebhookEventRpcs,
    WebhookRecoveryRpcs,
    ErasureRpcs,
    EventsServiceServicer,
):
    """contracts.events.v1.EventsService.

    tenant_database: its role sees one tenant; that of system_database sees all of them.
    """

    def __init__(
        self,
        system_database: Database,
        tenant_database: Database,
        *,
        feed: EventFeed,
        webhooks: WebhookDependencies,
        egress_pools: Callable[[], Awaitable[Mapping[str, str]]],
        sends_mail: bool = False,
    ) -> None:
        self.system_database = system_database
        self.tenant_database = tenant_database
        self.feed = feed
        self.webhooks = webhooks
        self.egress_pools = egress_pools
        self.sends_mail = sends_mail
