"""The gRPC API that ingest calls, one tenant at a time."""

from contracts.events.v1.events_service_pb2_grpc import EventsServiceServicer
from kernel.database import Database
from services.events.api.emails import EmailsApi
from services.events.api.webhooks import WebhookDependencies, WebhooksApi


class EventsApi(EmailsApi, WebhooksApi, EventsServiceServicer):
    """contracts.events.v1.EventsService.

    api: the role that sees one tenant; engine: for what spans tenants.
    """

    def __init__(self, api: Database, engine: Database, webhooks: WebhookDependencies) -> None:
        self.api = api
        self.engine = engine
        self.webhooks = webhooks
