"""Composition root of ingest."""

from datetime import timedelta

from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Domain, Tenant
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import MessageClosed
from kernel.backoff import Health
from kernel.content import open_store
from kernel.crypto import Secrets, derived_key
from kernel.database import Database
from kernel.kafka import Kafka
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.service import Service, every
from kernel.stream import Brake, Stream
from services.ingest.api.acceptance import Acceptance, Lifetimes
from services.ingest.api.door import Door
from services.ingest.api.gate import Gate
from services.ingest.api.rest import rest
from services.ingest.api.sending import Sending
from services.ingest.api.server import HttpServer
from services.ingest.domain.limits import Limiter
from services.ingest.domain.volume import Volume
from services.ingest.handlers import Handlers
from services.ingest.loops.publisher import Publisher
from services.ingest.settings import Settings
from services.ingest.store.acceptance import AcceptanceStore
from services.ingest.store.audit import AuditStore
from services.ingest.store.directory import DirectoryStore, Untold
from services.ingest.store.known import Directory
from services.ingest.store.room import OutboxRoom


def create(settings: Settings) -> Service:
    """Inside the running loop. Raises BadSetting."""
    health, kafka_health = Health(), Health()  # without the broker ingest is ready all the same
    secrets = Secrets(settings.secret_keys)
    return_path_key = derived_key(settings.secret_keys[0], "return path")
    engine = Database(
        settings.engine_database_url, connections_max=settings.connections_max, name="ingest"
    )
    kafka = Kafka(
        settings.kafka_bootstrap_servers,
        kafka_health,
        prefix=settings.kafka_topic_prefix,
        client="ingest",
    )
    kafka.declare(MessageAccepted, Account, Tenant, ApiKey, Domain)
    outbox = Outbox(engine, "ingest", kafka.publish, sweep_after_s=settings.sweep_after_s)
    room = OutboxRoom(
        outbox,
        messages_max=settings.outbox_messages_max,
        age_max_s=settings.outbox_age_max_s,
    )
    content = open_store(settings.content_store_url)
    directory = Directory(kafka, DirectoryStore(engine))
    gate = Gate(directory, Limiter(settings.requests_per_s), secrets)
    acceptance = Acceptance(
        gate=gate,
        store=AcceptanceStore(
            engine,
            outbox,
            audit_after_s=settings.audit_open_after_s,
            key_kept_s=settings.idempotency_h * 3600,
        ),
        content=content,
        outbox=outbox,
        room=room,
        kafka=kafka_health,
        volume=Volume(settings.bulk_after),
        lifetimes=Lifetimes(
            timedelta(hours=settings.lifetime_h), timedelta(days=settings.content_margin_days)
        ),
        return_path_key=return_path_key,
    )
    audit_store = AuditStore(
        engine,
        closed_after_s=settings.audit_closed_after_s,
        return_path_key=return_path_key,
    )
    kafka.consume(
        Stream(
            MessageClosed,
            name="ingest.closed",
            handler=Handlers(audit_store).on_closed,
            health=kafka_health,
            send=kafka.publish,
            database=engine,
            outbox=outbox,
            brake=Brake(parked_share_max=settings.parked_share_max),
            gather_s=0.05,
        ),
        group="ingest",
    )
    lease = Lease(engine, "ingest", "directory")
    publisher = Publisher(
        lease,
        Untold(lease),
        kafka,
        health=kafka_health,
        every_s=settings.directory_every_s,
        check_every_s=settings.directory_check_every_s,
    )
    sending = Sending(
        acceptance, reserved_allowed=frozenset(filter(None, settings.reserved_allowed.split(",")))
    )
    http = HttpServer(
        Door(gate, sending, rest(gate, sending)),
        settings.http_listen,
        trusted_proxies=settings.trusted_proxies,
    )

    async def close() -> None:
        await outbox.drain()
        await kafka.close()
        await engine.close()

    return Service(
        name="ingest",
        loops=[
            kafka.run,
            lease.keep,
            publisher.run,
            publisher.check,
            http.run,
            lambda: every(settings.sweep_after_s, outbox.sweep, kafka_health),
            lambda: every(settings.outbox_check_every_s, room.look, health),
        ],
        close=close,
        health=health,
        drain=acceptance.idle,
        health_host=settings.health_host,
        health_port=settings.health_port,
    )
