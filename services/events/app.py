"""Composition root: the only place where events is wired together."""

from contextlib import AsyncExitStack
from functools import partial

from contracts.delivery.v1.events_pb2 import BounceReceived, ComplaintReceived, DeliveryAttempted
from contracts.events.v1.events_pb2 import WebhookDisabled
from contracts.events.v1.events_service_pb2_grpc import add_EventsServiceServicer_to_server
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import DeliveryAssigned, MessageClosed, MessageDelayed
from contracts.shield.v1.events_pb2 import MessageScreened
from kernel.backoff import Health
from kernel.crypto import Secrets
from kernel.database import Database, check_roles
from kernel.kafka import Kafka
from kernel.outbox import Outbox
from kernel.rpc import Server
from kernel.service import Close, Service, every
from kernel.stream import Brake, Stream
from mail.reachable import networks
from services.events.api import EventsApi
from services.events.api.webhooks import Webhooks as AskedWebhooks
from services.events.clients import Caller
from services.events.handlers import Handlers
from services.events.loops.retention import Retention
from services.events.loops.webhooks import Rules, Webhooks
from services.events.settings import Settings

SWEEP_EVERY_S = 1.0
DAY_S = 86_400.0
# Batch statements over day partitions: planning them anew costs more than running them.
PLANNING = {"plan_cache_mode": "force_generic_plan"}
EVERY_FACT = (
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


def create(settings: Settings) -> Service:
    """Inside the running loop."""
    health = Health()
    kafka = Kafka.of(settings, health, client="events")
    engine = Database(settings.engine_database_url, name="events-engine", session=PLANNING)
    outbox = Outbox(engine, "events", kafka.publish, sweep_after_s=settings.sweep_after_s)
    secrets, allowed = Secrets(settings.secret_keys), networks(settings.webhook_allow)
    caller = Caller(allowed, timeout_s=settings.webhook_timeout_s)
    webhooks = Webhooks(
        engine, outbox, caller=caller, secrets=secrets, health=health, rules=rules_of(settings)
    )
    consume(settings, kafka, engine=engine, outbox=outbox, webhooks=webhooks)
    api = Database(settings.api_database_url, connections_max=4, name="events-api")
    server = Server(settings.rpc_listen, settings.rpc_token)
    asked = AskedWebhooks(secrets, allowed, webhooks.wake)
    add_EventsServiceServicer_to_server(EventsApi(api, engine, asked), server.grpc)
    return Service(
        "events",
        [
            partial(check_roles, (engine, api), health),
            kafka.run,
            server.run,
            webhooks.run,
            *(partial(every, s, pump, health) for s, pump in outbox.pumps(SWEEP_EVERY_S)),
            partial(every, DAY_S, Retention(engine, log_days=settings.log_days).keep, health),
        ],
        partial(close, webhooks.drain, outbox.drain, kafka.close, caller.close, api.close,
                engine.close),
        health,
        drain=webhooks.drain,
        drain_s=settings.drain_s,
        health_host=settings.health_host,
        health_port=settings.health_port,
    )  # fmt: skip


def consume(
    settings: Settings, kafka: Kafka, *, engine: Database, outbox: Outbox, webhooks: Webhooks
) -> None:
    """Every fact there is, by one stream."""
    handlers = Handlers(webhooks.room, webhooks.take, settings.webhook_lease_s)
    log = Stream(
        *EVERY_FACT,
        name="events.log",
        handler=handlers.on_any,
        health=kafka.health,
        send=kafka.publish,
        database=engine,
        outbox=outbox,
        brake=Brake(parked_share_max=settings.parked_share_max),
        gather_s=settings.gather_s,
    )
    kafka.consume(log, group=settings.group)


async def close(*parts: Close) -> None:
    """One after the other, all of them."""
    async with AsyncExitStack() as stack:
        for part in reversed(parts):
            stack.push_async_callback(part)


def rules_of(settings: Settings) -> Rules:
    return Rules(
        settings.webhook_schedule_s,
        settings.webhook_concurrency,
        settings.webhook_timeout_s,
        settings.webhook_probe_s,
        settings.webhook_poll_s,
        settings.webhook_lease_s,
    )
