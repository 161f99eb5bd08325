"""Composition root: the only place where router is wired together."""

import asyncio
import socket
from functools import partial

from contracts.delivery.v1.events_pb2 import BounceReceived, ComplaintReceived, DeliveryAttempted
from contracts.events.v1.events_pb2 import RecipientUnsubscribed
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.shield.v1.events_pb2 import MessageScreened
from contracts.shield.v1.learning_pb2 import CampaignAssessed
from kernel.database import check_roles
from kernel.days import CREATION_INTERVAL_S, create_coming_days
from kernel.lease import Lease
from kernel.processor import DeadLetterGuard, StreamProcessor
from kernel.service import Loop, Service, run_every
from kernel.status import create_rpc_server
from services.router.api.policies import PolicyAdmin
from services.router.api.service import RouterServicer
from services.router.app.infrastructure import SCHEMA, Infrastructure
from services.router.app.local_cells import LocalCell, LocalCells
from services.router.app.message_services import add_message_services
from services.router.app.policy_services import add_policy_services
from services.router.app.routing import create_resolver, sandbox_route
from services.router.app.rules import adaptation_rules, read_shaping, read_static_routes
from services.router.app.source_checks import egress_host_loop, source_check_loops
from services.router.app.topics import declare_topics
from services.router.clients.dns import RouteResolver
from services.router.domain.cell import Cell
from services.router.domain.cells import CellDirectory
from services.router.domain.dispatch import DispatchContext
from services.router.domain.message import CELL
from services.router.domain.policies import MailboxPolicies, TenantDirectory, configured_policies
from services.router.domain.policy_engine import AdaptivePolicies
from services.router.handlers import Handlers, Report, on_tenant
from services.router.loops.maintenance import (
    EgressPublisher,
    RetentionMaintenance,
)
from services.router.loops.received_results import SchedulerCallbacks
from services.router.loops.republisher import AssignmentRepublisher
from services.router.loops.route_resolution import RouteResolution
from services.router.loops.scheduler import Scheduler, SchedulerConfig
from services.router.settings import Settings
from services.router.store.notify import SchedulerNotifier

SWEEP_INTERVAL_S = 0.5
PUBLISH_INTERVAL_S = 30.0


class Dependencies(Infrastructure):
    """Objects that handlers, API and loops of one router process share."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.ehlo = settings.ehlo or socket.getfqdn()
        self.shaping = read_shaping(settings)
        self.directory = TenantDirectory(self.tenants)
        self.mailbox_policies = MailboxPolicies(self.mailboxes)
        self.policies = configured_policies(self.directory, self.shaping, self.mailbox_policies)
        self.rules = adaptation_rules(settings, self.tenants, self.directory)
        self.sandbox = sandbox_route(settings)
        self.resolver = create_resolver(settings)
        self.routes = RouteResolver(
            self.resolver,
            read_static_routes(settings),
            own_names=self.own_names,
            on_answer=self.on_dns_answer,
            lookups_max=settings.dns_lookups_max,
        )
        self.cell_directory = CellDirectory(self.directory.pool_of)
        self.notifier = SchedulerNotifier(settings.system_database_url, self.cell_directory)
        self.cells = LocalCells(
            self.system_database,
            self.cell_directory,
            self.notifier,
            create=partial(create_owned_cell, self),
            health=self.health,
        )
        self.first_cell = self.cells.add(CELL)
        self.tenants.on_change(lambda one: self.on_tenant_changed(one.tenant_id))
        self.mailboxes.on_change(lambda one: self.on_tenant_changed(one.tenant_id))

    def own_names(self) -> frozenset[str]:
        """Host names of this engine: mail to an MX host with such a name would loop."""
        of_sources = self.first_cell.scheduler.ehlo_names | self.cell_directory.ehlo_names
        return frozenset(name.lower() for name in (self.ehlo, *of_sources) if name)

    def on_dns_answer(self) -> None:
        for one in self.cells.by_name.values():
            one.on_unresolved()

    def on_tenant_changed(self, tenant_id: str) -> None:
        for one in self.cells.schedulers:
            one.on_tenant_changed(tenant_id)

    async def wait_for_directory(self) -> None:
        await self.tenants.replayed.wait()
        await self.mailboxes.replayed.wait()

    async def close(self) -> None:
        await self.routes.close()
        await self.journal.close()
        await self.egress_hosts.close()
        await self.outbox.drain()
        await self.cells.close()
        await self.kafka.close()
        await self.tenant_database.close()
        await self.system_database.close()


def create_service(settings: Settings) -> Service:
    """Inside the running loop. Raises ConfigError."""
    deps = Dependencies(settings)
    register_consumers(deps, create_handlers(deps))
    declare_topics(deps.kafka)
    server = create_rpc_server(
        settings, settings.rpc_listen, deps.system_database, schema="router", ahead=["messages"]
    )
    add_message_services(server, create_servicer(deps))
    cell_of = deps.cell_directory.cell_of
    tables = PolicyAdmin(deps.rules, deps.policies, deps.directory.pool_of, cell_of)
    add_policy_services(
        server, tables, deps.outbox, database=deps.system_database, notifier=deps.notifier
    )
    deps.health.unavailable.add("directory")
    return Service(
        "router",
        loops=[
            partial(check_roles, (deps.system_database, deps.tenant_database), deps.health),
            deps.kafka.run,
            deps.notifier.run,
            deps.cells.run,
            partial(open_requests, deps),
            server.run,
            *create_maintenance_loops(deps),
        ],
        close=deps.close,
        health=deps.health,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        health_listen=settings.health_listen,
    )


async def open_requests(deps: Dependencies) -> None:
    """The service is ready once the tenants and the mailboxes are known."""
    await deps.tenant_database.open()  # so that the first request finds a connection
    await deps.wait_for_directory()
    deps.health.unavailable.discard("directory")
    await asyncio.Event().wait()


def create_maintenance_loops(deps: Dependencies) -> list[Loop]:
    settings, health, kafka = deps.settings, deps.health, deps.kafka
    maintenance = RetentionMaintenance(
        deps.system_database,
        deps.partitions,
        retention_days=settings.closed_retention_days,
        is_leader=lambda: deps.first_cell.is_leader,
    )
    create_days = partial(
        create_coming_days, deps.system_database, "router", deps.partitions.days.ensure
    )
    egresses = EgressPublisher(deps.system_database, kafka)

    async def publish_sources() -> None:
        await deps.tenants.replayed.wait()
        await egresses.publish()

    return [
        *(
            partial(run_every, interval_s, loop, health)
            for interval_s, loop in deps.outbox.loop_actions(SWEEP_INTERVAL_S)
        ),
        partial(run_every, CREATION_INTERVAL_S, create_days, health),
        partial(run_every, settings.partitions_interval_s, maintenance.run_once, health),
        partial(run_every, PUBLISH_INTERVAL_S, publish_sources, health),
    ]


def register_consumers(deps: Dependencies, handlers: Handlers) -> None:
    stream = partial(
        StreamProcessor,
        health=deps.health,
        send=deps.kafka.publish,
        database=deps.system_database,
        outbox=deps.outbox,
    )
    guard = partial(DeadLetterGuard, ratio_max=deps.settings.dead_letter_ratio_max)
    screened: StreamProcessor[MessageScreened] = stream(
        MessageScreened,
        name="router.screened",
        handler=handlers.on_screened,
        guard=guard(),
        linger_s=deps.settings.screened_linger_s,
    )
    attempted: StreamProcessor[DeliveryAttempted] = stream(
        DeliveryAttempted,
        name="router.attempted",
        handler=handlers.on_attempted,
        guard=guard(),
        linger_s=deps.settings.attempted_linger_s,
    )
    feedback: StreamProcessor[Report] = stream(
        BounceReceived,
        ComplaintReceived,
        RecipientUnsubscribed,
        name="router.feedback",
        handler=handlers.on_report,
        guard=guard(),
    )
    assessed: StreamProcessor[CampaignAssessed] = stream(
        CampaignAssessed, name="router.assessed", handler=handlers.on_assessed, guard=guard()
    )
    tenants: StreamProcessor[Tenant] = stream(Tenant, name="router.tenants", handler=on_tenant)
    deps.kafka.consume(screened, group="router-screened")
    deps.kafka.consume(attempted, group="router-attempted")
    deps.kafka.consume(feedback, group="router-feedback")
    deps.kafka.consume(assessed, group="router-assessed")
    deps.kafka.consume(tenants, group="router-tenants")


def create_handlers(deps: Dependencies) -> Handlers:
    return Handlers(
        tenants=deps.tenants,
        site_of=deps.routes.cached_site,
        retry=deps.retry,
        partitions=deps.partitions,
        notifier=deps.notifier,
    )


def create_owned_cell(deps: Dependencies, name: str) -> LocalCell:
    settings, health, kafka = deps.settings, deps.health, deps.kafka
    lease = Lease(
        deps.system_database,
        SCHEMA,
        name,
        lease_s=settings.lease_s,
        publish_timeout_s=settings.publish_timeout_s,
        may_acquire=lambda: deps.cells.may_acquire(name),
        owner=deps.process_id,
    )
    scheduler = create_scheduler(deps, lease)
    resolution = RouteResolution(
        lease,
        deps.outbox,
        routes=deps.routes,
        on_requeued=scheduler.wake,
        health=health,
        idle_interval_s=settings.tick_idle_interval_s,
        lookups_max=max(1, settings.dns_lookups_max // 4),
    )
    delays_s = (settings.republish_after_s, settings.republish_backoff_max_s)
    republisher = AssignmentRepublisher(lease, deps.outbox, health, kafka, *delays_s)

    async def run_scheduler() -> None:
        await deps.wait_for_directory()
        await scheduler.run()

    loops: list[Loop] = [
        lease.maintain,
        resolution.run,
        run_scheduler,
        partial(run_every, settings.republish_interval_s, republisher.run_once, health),
        *source_check_loops(settings, lease, deps.resolver, ehlo=deps.ehlo, health=health),
        egress_host_loop(settings, scheduler, deps.egress_hosts, lease=lease, health=health),
    ]
    return LocalCell(lease, scheduler, resolution, loops)


def create_scheduler(deps: Dependencies, lease: Lease) -> Scheduler:
    settings = deps.settings

    def new_cell() -> Cell:
        context = DispatchContext(
            route_of=deps.routes.cached_route,
            pool_of=deps.directory.pool_of,
            shaping=deps.shaping,
            sandbox=deps.sandbox,
            ehlo=deps.ehlo,
            valid_s=settings.assignment_valid_s,
            limits_mailbox=deps.mailbox_policies.is_limited,
            feedback_sites=deps.rules.complaint_domain_sites,
        )
        return Cell(
            deps.policies,
            context,
            adaptive=AdaptivePolicies(deps.rules),
        )

    config = SchedulerConfig(
        messages_max=settings.tick_messages_max,
        queues_max=settings.tick_queues_max,
        target_s=settings.tick_target_s,
        interval_s=settings.tick_interval_s,
        idle_interval_s=settings.tick_idle_interval_s,
        expire_interval_s=settings.expire_interval_s,
        republish_after_s=settings.republish_after_s,
    )
    return Scheduler(
        lease,
        deps.outbox,
        new_cell=new_cell,
        config=config,
        callbacks=SchedulerCallbacks(
            deps.on_dns_answer, deps.notifier.notify, deps.directory.account_of
        ),
        health=deps.health,
        address_key=deps.address_key,
    )


def create_servicer(deps: Dependencies) -> RouterServicer:
    return RouterServicer(
        system_database=deps.system_database,
        tenant_database=deps.tenant_database,
        outbox=deps.outbox,
        health=deps.health,
        journal=deps.journal,
        partitions=deps.partitions,
        tenants=deps.tenants,
        retry=deps.retry,
        notifier=deps.notifier,
        address_key=deps.address_key,
    )
