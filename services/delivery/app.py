"""Composition root: the only place where delivery is wired together."""

import socket
from functools import partial
from ipaddress import ip_network

from contracts.delivery.v1.events_pb2 import ComplaintReceived, DeliveryAttempted
from contracts.ingest.v1.directory_pb2 import Domain, Tenant
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.backoff import Health
from kernel.content import open_store
from kernel.crypto import Secrets
from kernel.database import Database
from kernel.kafka import Kafka
from kernel.outbox import Outbox
from kernel.service import Service, every
from kernel.stream import Brake, Stream
from kernel.table import Table
from services.delivery.clients.dns import Names
from services.delivery.clients.exchangers import Exchangers
from services.delivery.clients.smtp.dial import Dialler
from services.delivery.clients.smtp.timeouts import Timeouts
from services.delivery.handlers import Handlers
from services.delivery.loops.committer import Committer
from services.delivery.loops.rendering import Directory, Renderer
from services.delivery.loops.sender import Sender
from services.delivery.loops.ways import Limits
from services.delivery.settings import Settings
from services.delivery.store.journal import Days, Journal
from services.delivery.store.workers import Worker

SWEEP_EVERY_S = 0.5
CLOSE_IDLE_EVERY_S = 1.0


def create(settings: Settings) -> Service:
    """Inside the running loop."""
    health = Health()
    kafka = Kafka(
        settings.kafka_bootstrap_servers, health,
        prefix=settings.kafka_topic_prefix, client="obm-delivery", drain_s=settings.drain_s,
    )  # fmt: skip
    database = Database(settings.engine_database_url, name="delivery")
    outbox = Outbox(database, "delivery", kafka.publish, sweep_after_s=settings.sweep_after_s)
    journal = Journal()
    worker = Worker(database, socket.gethostname(), lease_s=settings.lease_s)
    renderer = create_renderer(settings, kafka)
    sender = Sender(
        Committer(database, outbox, journal=journal, health=health),
        renderer,
        exchangers=create_exchangers(settings),
        limits=Limits(
            settings.connections_max, settings.messages_per_connection_max, settings.idle_s
        ),
        health=health,
    )
    handlers = Handlers(
        journal, worker, Days(database, kept_days=settings.journal_kept_days), sender.offer
    )
    stream: Stream[DeliveryAssigned] = Stream(
        DeliveryAssigned,
        name="delivery.assigned",
        handler=handlers.on_assigned,
        health=health,
        send=kafka.publish,
        database=database,
        outbox=outbox,
        brake=Brake(parked_share_max=settings.parked_share_max),
    )
    kafka.consume(stream, group="delivery")
    kafka.declare(DeliveryAttempted, ComplaintReceived)

    async def close() -> None:
        sender.stop()
        await worker.resign()
        await outbox.drain()
        renderer.close()
        await kafka.close()
        await database.close()

    return Service(
        "delivery",
        [
            kafka.run,
            partial(every, SWEEP_EVERY_S, outbox.sweep, health),
            partial(every, settings.lease_s / 3, worker.keep, health),
            partial(every, CLOSE_IDLE_EVERY_S, sender.close_idle, health),
        ],
        close,
        health,
        drain=sender.drain,
        drain_s=settings.drain_s,
        health_host=settings.health_host,
        health_port=settings.health_port,
    )


def create_renderer(settings: Settings, kafka: Kafka) -> Renderer:
    directory = Directory(Table(Tenant, kafka), Table(Domain, kafka), Secrets(settings.secret_keys))
    store = open_store(settings.content_store_url)
    return Renderer(store, directory, threads=settings.signing_threads)


def create_exchangers(settings: Settings) -> Exchangers:
    timeouts = Timeouts(
        **{
            name: getattr(settings, name)
            for name in Timeouts.__dataclass_fields__
            if name != "quit_s"
        }
    )
    return Exchangers(
        Names(nameservers=settings.nameservers or None),
        Dialler(timeouts),
        allowed=[ip_network(network) for network in settings.relay_allow],
    )
