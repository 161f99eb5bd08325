"""Composition root: the only place where events is wired together."""

from contextlib import AsyncExitStack
from functools import partial

from contracts.delivery.v1.events_pb2 import BounceReceived, ComplaintReceived, DeliveryAttempted
from contracts.events.v1.events_pb2 import WebhookDisabled
from contracts.events.v1.events_service_pb2_grpc import add_EventsServiceServicer_to_server
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import DeliveryAssigned, MessageClosed, MessageDelayed
from contracts.shield.v1.events_pb2 import MessageScreened
from kernel.crypto import SecretKeyring
from kernel.database import Database, check_roles
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.outbox import Outbox
from kernel.processor import DeadLetterGuard, StreamProcessor
from kernel.rpc import RpcServer
from kernel.service import Close, Service, run_every
from mail.reachable import networks
from services.events.api import EventsApi
from services.events.api.webhooks import WebhookDependencies
from services.events.clients import WebhookClient
from services.events.handlers import Handlers
from services.events.loops.retention import Retention
from services.events.loops.webhooks import WebhookConfig, WebhookDispatcher
from services.events.settings import Settings

SWEEP_INTERVAL_S = 1.0
DAY_S = 86_400.0
# To plan a batch statement over day partitions each time would cost more than to run it.
SESSION_SETTINGS = {"plan_cache_mode": "force_generic_plan"}
ALL_EVENTS = (
    MessageAccepted,
    MessageScreened,
    DeliveryAssigned,
    DeliveryAttempted,
    MessageDelayed,
    MessageClosed,
    ComplaintReceived,
    BounceReceived,
    WebhookDisabled,
)


def create_service(settings: Settings) -> Service:
    """Create the service; call it inside the running event loop."""
    health = DependencyHealth()
    kafka = Kafka.from_settings(settings, health, client="events")
    system = Database(settings.system_database_url, name="events-system", session=SESSION_SETTINGS)
    outbox = Outbox(system, "events", kafka.publish, sweep_after_s=settings.outbox_sweep_after_s)
    secrets = SecretKeyring(settings.secret_keys)
    allowed = networks(settings.webhook_allowed_networks)
    client = WebhookClient(allowed, timeout_s=settings.webhook_timeout_s)
    config = webhook_config(settings)
    webhooks = WebhookDispatcher(
        system, outbox, client=client, secrets=secrets, health=health, config=config
    )
    consume(settings, kafka, database=system, outbox=outbox, webhooks=webhooks)
    tenant = Database(settings.tenant_database_url, connections_max=4, name="events-tenant")
    server = RpcServer(settings.rpc_listen, settings.rpc_token)
    dependencies = WebhookDependencies(secrets, allowed, webhooks.wake)
    add_EventsServiceServicer_to_server(EventsApi(tenant, system, dependencies), server.grpc)
    retention = Retention(system, log_days=settings.log_retention_days)
    return Service(
        "events",
        [
            partial(check_roles, (system, tenant), health),
            kafka.run,
            server.run,
            webhooks.run,
            *(partial(run_every, s, pump, health) for s, pump in outbox.pumps(SWEEP_INTERVAL_S)),
            partial(run_every, DAY_S, retention.run_once, health),
        ],
        partial(close, webhooks.drain, outbox.drain, kafka.close, client.close, tenant.close,
                system.close),
        health,
        drain=webhooks.drain,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        health_listen=settings.health_listen,
    )  # fmt: skip


def consume(
    settings: Settings,
    kafka: Kafka,
    *,
    database: Database,
    outbox: Outbox,
    webhooks: WebhookDispatcher,
) -> None:
    """Consume every event with one processor."""
    handlers = Handlers(webhooks.capacity, webhooks.enqueue, settings.webhook_lease_s)
    log = StreamProcessor(
        *ALL_EVENTS,
        name="events.log",
        handler=handlers.on_any,
        health=kafka.health,
        send=kafka.publish,
        database=database,
        outbox=outbox,
        guard=DeadLetterGuard(ratio_max=settings.dead_letter_ratio_max),
        linger_s=settings.linger_s,
    )
    kafka.consume(log, group=settings.group)


async def close(*parts: Close) -> None:
    """Close the parts one after the other, even if one fails."""
    async with AsyncExitStack() as stack:
        for part in reversed(parts):
            stack.push_async_callback(part)


def webhook_config(settings: Settings) -> WebhookConfig:
    return WebhookConfig(
        settings.webhook_retry_schedule_s,
        settings.webhook_concurrency,
        settings.webhook_timeout_s,
        settings.webhook_probe_interval_s,
        settings.webhook_poll_interval_s,
        settings.webhook_lease_s,
    )
