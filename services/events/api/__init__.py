"""The gRPC API that ingest calls, one tenant at a time."""

from contracts.events.v1.events_service_pb2_grpc import EventsServiceServicer
from kernel.database import Database
from services.events.api.emails import EmailsApi
from services.events.api.webhooks import WebhookDependencies, WebhooksApi


class EventsApi(EmailsApi, WebhooksApi, EventsServiceServicer):
    """contracts.events.v1.EventsService.

    tenant: the role that sees one tenant; system: the role that sees all of them.
    """

    def __init__(self, tenant: Database, system: Database, webhooks: WebhookDependencies) -> None:
        self.tenant = tenant
        self.system = system
        self.webhooks = webhooks
