"""Composition root of ingest."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from math import ceil

from contracts.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from contracts.events.v1.events_service_pb2_grpc import EventsServiceStub
from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Domain, Tenant
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import MessageClosed
from contracts.router.v1.router_service_pb2_grpc import RouterServiceStub
from contracts.shield.v1.events_pb2 import MessageScreened
from contracts.shield.v1.shield_service_pb2_grpc import ShieldServiceStub
from kernel.backoff import Health
from kernel.content import FIND_EVERY_S, ContentStore, open_store
from kernel.crypto import Secrets, derived_key
from kernel.database import PLANS, Database, check_roles
from kernel.kafka import Kafka
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.rpc import Peer
from kernel.service import Loop, Service, every
from kernel.stream import Brake, Stream
from mail.reachable import networks
from services.ingest.api.acceptance import Acceptance, Lifetimes
from services.ingest.api.cors import shared
from services.ingest.api.door import Door
from services.ingest.api.emails import Emails
from services.ingest.api.fetching import Fetching
from services.ingest.api.gate import Gate
from services.ingest.api.grpc import EmailService
from services.ingest.api.grpc_server import GrpcServer, Proxies
from services.ingest.api.resource import Admission
from services.ingest.api.rest import Parts, rest
from services.ingest.api.sending import Sending
from services.ingest.api.server import HttpServer
from services.ingest.clients import Asked, Others
from services.ingest.clients.downloads import Downloads
from services.ingest.domain.attachments import NOT_BY_PATH, ByPath
from services.ingest.domain.bodies import Bodies
from services.ingest.domain.limits import Limiter
from services.ingest.domain.volume import Volume
from services.ingest.handlers import Handlers
from services.ingest.loops.audit import Audit, Patience, Ways
from services.ingest.loops.publisher import Publisher
from services.ingest.loops.retention import Retention
from services.ingest.settings import Settings
from services.ingest.store.acceptance import AcceptanceStore
from services.ingest.store.audit import AuditStore
from services.ingest.store.directory import DirectoryStore, Untold
from services.ingest.store.emails import EmailStore
from services.ingest.store.known import Directory
from services.ingest.store.retention import RetentionStore
from services.ingest.store.room import Room
from services.ingest.store.stored import Stored

CLOSED_GATHERED_S = 0.2  # nobody waits for a close
RETENTION_EVERY_S = 3600.0
ROUTER_GROUP = "router-screened"  # the router's consumer of MessageScreened


@dataclass(frozen=True, slots=True)
class Ground:
    """What everything stands on. kafka_health is apart: without the broker ingest is ready."""

    health: Health
    kafka_health: Health
    kafka: Kafka
    engine: Database
    api: Database
    outbox: Outbox
    content: ContentStore
    secrets: Secrets
    return_path_key: bytes
    others: Others
    downloads: Downloads | None
    lease: Lease

    async def close(self) -> None:
        await self.outbox.drain()
        await self.lease.release()
        await self.kafka.close()
        await self.others.close()
        if self.downloads is not None:
            await self.downloads.close()
        await self.api.close()
        await self.engine.close()


def create(settings: Settings) -> Service:
    """Inside the running loop. Raises BadSetting."""
    ground = lay_ground(settings)
    room = open_room(settings, ground)
    directory = DirectoryStore(ground.engine)
    known = Directory(
        directory,
        ground.health,
        every_s=settings.directory_read_every_s,
        age_max_s=settings.directory_age_max_s,
    )
    bodies = Bodies(settings.bodies_mb_max * 1024 * 1024)
    gate = Gate(known, Limiter(settings.requests_per_s), ground.secrets, bodies=bodies)
    acceptance = open_acceptance(settings, ground, gate=gate, room=room)
    return Service(
        name="ingest",
        loops=[
            partial(check_roles, (ground.engine, ground.api), ground.health),
            *open_doors(settings, ground, gate=gate, acceptance=acceptance, directory=directory),
            known.follow,
            *loops(settings, ground, room),
        ],
        close=ground.close,
        health=ground.health,
        drain=acceptance.idle,
        drain_s=settings.drain_s,
        health_host=settings.health_host,
        health_port=settings.health_port,
    )


def open_doors(
    settings: Settings,
    ground: Ground,
    *,
    gate: Gate,
    acceptance: Acceptance,
    directory: DirectoryStore,
) -> list[Loop]:
    emails = Emails(
        gate=gate,
        store=EmailStore(ground.api, return_path_key=ground.return_path_key),
        content=ground.content,
        others=ground.others,
        lifetime=timedelta(hours=settings.lifetime_h),
    )
    allowed = frozenset(filter(None, settings.reserved_allowed.split(",")))
    fetching = open_fetching(settings, ground, gate)
    sending = Sending(gate, acceptance, reserved_allowed=allowed, fetching=fetching)
    parts = Parts(Admission(gate), sending, emails, ground.others, directory)
    door = Door(gate, sending, rest(parts))
    http = HttpServer(
        shared(door, [one for one in settings.cors_origins.replace(" ", "").split(",") if one]),
        settings.http_listen,
        trusted_proxies=settings.trusted_proxies,
        connections_max=settings.http_connections_max,
    )
    proxies = Proxies(settings.trusted_proxies)
    service = EmailService(gate, acceptance, emails, reserved_allowed=allowed, proxies=proxies)
    grpc = GrpcServer(
        service,
        settings.grpc_listen,
        admit=service.admit,
        bodies=gate.bodies,
        health=ground.health,
        connections_max=settings.grpc_connections_max,
    )
    return [http.run, grpc.run]


def open_fetching(settings: Settings, ground: Ground, gate: Gate) -> Fetching:
    on = ByPath("", networks(settings.attachment_fetch_allow))
    return Fetching(
        gate,
        ground.downloads,
        by_path=on if settings.attachment_fetch else NOT_BY_PATH,
        at_once=settings.attachment_fetches_max,
        timeout_s=settings.attachment_fetch_timeout_s,
    )


def open_room(settings: Settings, ground: Ground) -> Room:
    return Room(
        ground.outbox,
        ground.content,
        Stored(ground.engine, octets_max=int(settings.tenant_content_gb_max * 1e9)),
        messages_max=settings.outbox_messages_max,
        age_max_s=settings.outbox_age_max_s,
        free_min=settings.content_free_min,
    )


def lay_ground(settings: Settings) -> Ground:
    kafka_health = Health()
    kafka = Kafka.of(settings, kafka_health, client="ingest")
    kafka.declare(MessageAccepted, Account, Tenant, ApiKey, Domain)
    database = partial(Database, connections_max=settings.connections_max, session=PLANS)
    engine = database(settings.engine_database_url, name="ingest")
    return Ground(
        health=Health(),
        kafka_health=kafka_health,
        kafka=kafka,
        engine=engine,
        api=database(settings.api_database_url, name="ingest api"),
        outbox=Outbox(engine, "ingest", kafka.publish, sweep_after_s=settings.sweep_after_s),
        content=open_store(settings.content_store_url),
        secrets=Secrets(settings.secret_keys),
        return_path_key=derived_key(settings.secret_keys[0], "return path"),
        others=find_others(settings),
        downloads=(
            Downloads(networks(settings.attachment_fetch_allow))
            if settings.attachment_fetch
            else None
        ),
        lease=Lease(engine, "ingest", "owner", lease_s=settings.lease_s),
    )


def find_others(settings: Settings) -> Others:
    token = settings.rpc_token
    return Others(
        router=Asked(Peer("router", settings.router_rpc_address, token), RouterServiceStub),
        delivery=Asked(Peer("delivery", settings.delivery_rpc_address, token), DeliveryServiceStub),
        events=Asked(Peer("events", settings.events_rpc_address, token), EventsServiceStub),
        shield=Asked(Peer("shield", settings.shield_rpc_address, token), ShieldServiceStub),
    )


def open_acceptance(settings: Settings, ground: Ground, *, gate: Gate, room: Room) -> Acceptance:
    store = AcceptanceStore(
        ground.engine,
        ground.outbox,
        audit_after_s=settings.audit_open_after_s,
        key_kept_s=settings.idempotency_h * 3600,
    )
    lifetimes = Lifetimes(
        timedelta(hours=settings.lifetime_h), timedelta(days=settings.content_margin_days)
    )
    return Acceptance(
        gate=gate,
        store=store,
        content=ground.content,
        outbox=ground.outbox,
        room=room,
        kafka=ground.kafka_health,
        volume=Volume(settings.bulk_after),
        lifetimes=lifetimes,
        return_path_key=ground.return_path_key,
    )


def loops(settings: Settings, ground: Ground, room: Room) -> list[Loop]:
    """Timers and pumps, and the stream of closed messages."""
    audits = AuditStore(
        ground.engine,
        closed_after_s=settings.audit_closed_after_s,
        return_path_key=ground.return_path_key,
    )
    consume_closed(settings, ground, Handlers(audits))
    audit = open_audit(settings, ground, audits)
    publisher = Publisher(
        ground.lease,
        Untold(ground.engine, ground.lease),
        ground.kafka,
        health=ground.kafka_health,
        every_s=settings.directory_every_s,
        check_every_s=settings.directory_check_every_s,
    )
    retention = Retention(
        RetentionStore(ground.engine, kept_days=settings.kept_days),
        ground.content,
        lease=ground.lease,
        health=ground.health,
    )
    return [
        ground.kafka.run,
        ground.lease.keep,
        publisher.run,
        publisher.check,
        *sweeping(settings, ground),
        partial(every, settings.outbox_check_every_s, room.look, ground.health),
        partial(every, settings.audit_every_s, audit.look, Health()),
        partial(every, RETENTION_EVERY_S, retention.look, ground.health),
        partial(every, FIND_EVERY_S, retention.find_content, ground.health),
    ]


def open_audit(settings: Settings, ground: Ground, store: AuditStore) -> Audit:
    return Audit(
        store,
        ground.others,
        ground.kafka,
        ways=ways(settings),
        lease=ground.lease,
        outbox=ground.outbox,
        kafka=ground.kafka_health,
        patience=patience(settings),
    )


def ways(settings: Settings) -> Ways:
    return Ways(
        accepted=[(MessageAccepted, settings.shield_group), (MessageScreened, ROUTER_GROUP)],
        closed=[(MessageClosed, settings.events_group)],
    )


def patience(settings: Settings) -> Patience:
    first = min(settings.audit_open_after_s, settings.audit_closed_after_s)
    return Patience(
        settings.audit_batch,
        again_after=timedelta(seconds=settings.audit_again_after_s),
        told_max=ceil(settings.audit_told_per_s * settings.audit_every_s),
        told_before=timedelta(seconds=min(first, settings.audit_again_after_s)),
    )


def sweeping(settings: Settings, ground: Ground) -> list[Loop]:
    pumps = ground.outbox.pumps(settings.sweep_after_s)
    return [partial(every, every_s, pump, ground.kafka_health) for every_s, pump in pumps]


def consume_closed(settings: Settings, ground: Ground, handlers: Handlers) -> None:
    stream = Stream(
        MessageClosed,
        name="ingest.closed",
        handler=handlers.on_closed,
        health=ground.kafka_health,
        send=ground.kafka.publish,
        database=ground.engine,
        outbox=ground.outbox,
        brake=Brake(parked_share_max=settings.parked_share_max),
        gather_s=CLOSED_GATHERED_S,
    )
    ground.kafka.consume(stream, group="ingest")
