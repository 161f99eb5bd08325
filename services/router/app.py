"""Composition root: the only place where router is wired together."""

import socket
from functools import partial
from importlib.resources import files
from pathlib import Path

from contracts.delivery.v1.events_pb2 import (
    BounceReceived,
    ComplaintReceived,
    DeliveryAttempted,
)
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1.directory_pb2 import Egress, Pool
from contracts.router.v1.events_pb2 import DeliveryAssigned, MessageClosed, MessageDelayed
from contracts.router.v1.router_service_pb2_grpc import add_RouterServiceServicer_to_server
from contracts.shield.v1.events_pb2 import MessageScreened
from kernel.backoff import Health
from kernel.database import PLANS, Database, check_roles
from kernel.errors import BadSetting
from kernel.kafka import Kafka
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.rpc import Server
from kernel.service import Loop, Service, every
from kernel.stream import Brake, Stream
from kernel.table import Table
from services.router.api.service import RouterService
from services.router.clients.dns import Resolver, Routes, system_resolver
from services.router.clients.journal import Journal
from services.router.domain.dispatch import Desk
from services.router.domain.message import CELL, SANDBOX
from services.router.domain.retry import RetryPolicy
from services.router.domain.routes import Route, StaticRoutes, parse_exchanger
from services.router.domain.scopes import DEFAULT_POOL, Scopes, Sender
from services.router.domain.shaping import Shape, Shaping, load
from services.router.domain.windows import Caps
from services.router.handlers import Handlers
from services.router.loops.asking import Asking
from services.router.loops.owner import Owner, Rhythm
from services.router.loops.resolving import Resolving
from services.router.loops.upkeep import Directory, Upkeep, end_of_pools
from services.router.settings import Settings
from services.router.store.partitions import Partitions
from services.router.store.wake import Waker

SWEEP_EVERY_S = 0.5
DIRECTORY_EVERY_S = 30.0
SCHEMA = "router"


class Ground:
    """Broker, database and what stands on them alone."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.health = Health()
        self.kafka = Kafka.of(settings, self.health, client="router")
        self.engine = Database(settings.engine_database_url, name="router_engine", session=PLANS)
        self.api = Database(
            settings.api_database_url, name="router_api", connections_max=4, session=PLANS
        )
        self.outbox = Outbox(
            self.engine, SCHEMA, self.kafka.publish, sweep_after_s=settings.sweep_after_s
        )
        self.lease = Lease(
            self.engine, SCHEMA, CELL, lease_s=settings.lease_s, untold_s=settings.untold_s
        )
        self.tenants: Table[Tenant] = Table(Tenant, self.kafka)
        self.partitions = Partitions()
        self.journal = Journal(settings.delivery_rpc_address, settings.rpc_token)
        self.retry = RetryPolicy(
            settings.retry_schedule_s, settings.greylisted_retry_s, settings.greylisted_max
        )


class Parts(Ground):
    """Everything that is shared between the doors of one router process."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.ehlo = settings.ehlo or socket.getfqdn()
        self.shaping = shaping(settings)
        self.sandbox = sandbox(settings)
        self.routes = Routes(
            resolver(settings),
            static_routes(settings),
            own_names=self.own_names,
            on_answer=self.answered,
            questions_max=settings.dns_questions_max,
        )
        self.owner = owner(self)
        self.resolving = Resolving(
            self.lease,
            self.outbox,
            routes=self.routes,
            moved=self.owner.wake,
            health=self.health,
            idle_s=settings.tick_idle_s,
            asked_max=max(1, settings.dns_questions_max // 4),
        )
        self.waker = Waker(
            settings.engine_database_url,
            owns=lambda: self.owner.owns,
            on_work=self.owner.wake,
            on_names=self.resolving.wake,
        )

    def own_names(self) -> frozenset[str]:
        """Of this engine: mail for them would come back."""
        return frozenset(name.lower() for name in (self.ehlo, *self.owner.names) if name)

    def answered(self) -> None:
        """By DNS, or mail waits for it."""
        self.resolving.wake()

    def sender(self, tenant_id: str) -> Sender | None:
        """None while the tenant's record is on its way, however long; a tenant that is gone
        has no caps.
        """
        tenant = self.tenants.get(tenant_id)
        if tenant is None:
            return Sender() if self.tenants.was_deleted(tenant_id) else None
        caps = Caps(tenant.per_second_max, tenant.per_hour_max, tenant.per_day_max)
        return Sender(caps, tenant.pool_id or DEFAULT_POOL)

    async def close(self) -> None:
        await self.routes.close()
        await self.journal.close()
        await self.outbox.drain()
        await self.lease.release()
        await self.kafka.close()
        await self.api.close()
        await self.engine.close()


def create(settings: Settings) -> Service:
    """Inside the running loop. Raises BadSetting."""
    parts = Parts(settings)
    consume(parts)
    server = Server(settings.rpc_listen, settings.rpc_token)
    add_RouterServiceServicer_to_server(service(parts), server.grpc)
    parts.health.away.add("directory")
    return Service(
        "router",
        loops=[
            partial(check_roles, (parts.engine, parts.api), parts.health),
            parts.kafka.run,
            parts.lease.keep,
            parts.waker.run,
            parts.resolving.run,
            partial(tick, parts),
            server.run,
            *pumps(parts),
        ],
        close=parts.close,
        health=parts.health,
        drain_s=settings.drain_s,
        health_host=settings.health_host,
        health_port=settings.health_port,
    )


async def tick(parts: Parts) -> None:
    """A loop: the owner's, once the tenants are known."""
    await parts.api.open()  # so that the first question finds a connection
    await parts.tenants.replayed.wait()
    parts.health.away.discard("directory")
    await parts.owner.run()


def pumps(parts: Parts) -> list[Loop]:
    settings, health = parts.settings, parts.health
    upkeep = Upkeep(
        parts.engine,
        parts.partitions,
        ahead_days=settings.days_ahead,
        kept_days=settings.closed_kept_days,
        owns=lambda: parts.lease.fence is not None,
    )
    asking = Asking(parts.lease, parts.outbox, health, settings.ask_after_s, settings.ask_most_s)
    directory = Directory(parts.engine, parts.kafka, end_of=end_of_pools(parts.kafka))

    async def tell() -> None:
        await parts.tenants.replayed.wait()
        await directory.tell()

    return [
        *(partial(every, s, pump, health) for s, pump in parts.outbox.pumps(SWEEP_EVERY_S)),
        partial(every, settings.ask_every_s, asking.ask, health),
        partial(every, settings.partitions_every_s, upkeep.keep, health),
        partial(every, DIRECTORY_EVERY_S, tell, health),
    ]


def consume(parts: Parts) -> None:
    settings = parts.settings
    handlers = handlers_of(parts)
    stream = partial(
        Stream,
        health=parts.health,
        send=parts.kafka.publish,
        database=parts.engine,
        outbox=parts.outbox,
    )
    brake = partial(Brake, parked_share_max=settings.parked_share_max)
    screened: Stream[MessageScreened] = stream(
        MessageScreened,
        name="router.screened",
        handler=handlers.on_screened,
        brake=brake(),
        gather_s=settings.screened_gather_s,
    )
    attempted: Stream[DeliveryAttempted] = stream(
        DeliveryAttempted,
        name="router.attempted",
        handler=handlers.on_attempted,
        brake=brake(),
        gather_s=settings.attempted_gather_s,
    )
    feedback: Stream[BounceReceived | ComplaintReceived] = stream(
        BounceReceived,
        ComplaintReceived,
        name="router.feedback",
        handler=handlers.on_feedback,
        brake=brake(),
    )
    parts.kafka.consume(screened, group="router-screened")
    parts.kafka.consume(attempted, group="router-attempted")
    parts.kafka.consume(feedback, group="router-feedback")
    parts.kafka.declare(DeliveryAssigned, MessageDelayed, MessageClosed, Pool, Egress)


def handlers_of(parts: Parts) -> Handlers:
    return Handlers(
        tenants=parts.tenants,
        site_of=parts.routes.site,
        retry=parts.retry,
        partitions=parts.partitions,
        waker=parts.waker,
        answered=parts.owner.answered,
    )


def owner(parts: Parts) -> Owner:
    settings = parts.settings

    def new_desk() -> Desk:
        return Desk(
            Scopes(parts.sender, parts.shaping),
            route_of=parts.routes.known,
            sandbox=parts.sandbox,
            ehlo=parts.ehlo,
            valid_s=settings.assignment_valid_s,
        )

    rhythm = Rhythm(
        rows_max=settings.tick_rows_max,
        lanes_max=settings.tick_lanes_max,
        gap_s=settings.tick_gap_s,
        idle_s=settings.tick_idle_s,
        expire_every_s=settings.expire_every_s,
        ask_after_s=settings.ask_after_s,
    )
    return Owner(
        parts.lease,
        parts.outbox,
        new_desk=new_desk,
        rhythm=rhythm,
        on_names=parts.answered,
        health=parts.health,
    )


def service(parts: Parts) -> RouterService:
    return RouterService(
        engine=parts.engine,
        api=parts.api,
        outbox=parts.outbox,
        health=parts.health,
        journal=parts.journal,
        partitions=parts.partitions,
        tenants=parts.tenants,
        retry=parts.retry,
        waker=parts.waker,
    )


def shaping(settings: Settings) -> Shaping:
    default = Shape(settings.in_flight_max, settings.site_per_second_max)
    try:
        if settings.shaping_file:
            text = Path(settings.shaping_file).read_text("utf-8")
        else:
            text = (files("services.router") / "shaping.toml").read_text("utf-8")
        return load(text, default=default)
    except (OSError, ValueError) as error:
        raise BadSetting(f"ROUTER_SHAPING_FILE: {error}") from error


def static_routes(settings: Settings) -> StaticRoutes:
    if not settings.routes_file:
        return StaticRoutes()
    try:
        return StaticRoutes(Path(settings.routes_file).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadSetting(f"ROUTER_ROUTES_FILE: {error}") from error


def sandbox(settings: Settings) -> Route:
    try:
        return Route(SANDBOX, (parse_exchanger(settings.sandbox_address),))
    except ValueError as error:
        raise BadSetting(f"ROUTER_SANDBOX_ADDRESS: {error}") from error


def resolver(settings: Settings) -> Resolver:
    try:
        return system_resolver(settings.nameservers, timeout_s=settings.dns_timeout_s)
    except ValueError as error:
        raise BadSetting(f"ROUTER_NAMESERVERS: {error}") from error
