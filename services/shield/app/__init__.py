"""Composition root: the only place where shield is wired together."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from tomllib import TOMLDecodeError

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.shield.v1.events_pb2 import MessageScreened, ShadowDiffered
from contracts.shield.v1.learning_pb2 import (
    CampaignAssessed,
    ModelPublished,
    ModelVersionChanged,
    OutcomeRecorded,
)
from contracts.shield.v1.shield_service_pb2_grpc import add_ShieldServiceServicer_to_server
from kernel import status
from kernel.child import Child, ChildLimits
from kernel.content import MOUNT_CHECK_INTERVAL_S, check_mounted, open_store
from kernel.crypto import SecretKeyring
from kernel.database import PLANS, Database, check_roles
from kernel.errors import ConfigError
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.processor import DeadLetterGuard, StreamProcessor
from kernel.resolver import system_resolver
from kernel.retry import retry_while_unavailable
from kernel.rpc import RpcServer
from kernel.service import Loop, Service, create_loops, run_every
from kernel.table import ReplicatedTable
from mail.blocklists import parse_blocklists, select, shipped
from mail.dnsbl import Blocklist, EntryKind
from mail.dnsbl_health import ListHealth
from mail.listed_name import suffixes
from services.shield.api import ShieldServicer
from services.shield.app.dependencies import Dependencies
from services.shield.app.learning import create_campaigns, learning_loops
from services.shield.app.shadow import NICENESS, create_shadow, create_start_recorder
from services.shield.clients.link_lists import LinkBlockLists
from services.shield.clients.screening_child import ScreeningChild
from services.shield.domain import screening
from services.shield.domain.model.file import ModelError, load_model
from services.shield.domain.rulebook import Rulebook, RuleError, parse_rulebook
from services.shield.domain.scoring import Scorer, thresholds_of_tenant
from services.shield.handlers import ScreeningHandler
from services.shield.loops.maintenance import CampaignMaintenance
from services.shield.loops.shadow import ShadowModelScorer
from services.shield.settings import Settings

STARTING = "start"
SCHEMA = "shield"
LEARNER = "learner"  # the lease
SWEEP_INTERVAL_S = 0.5
MAINTENANCE_INTERVAL_S = 600.0
LIST_TEST_INTERVAL_S = 10.0  # between searches for block lists to test


def create_service(settings: Settings) -> Service:
    """Call it inside the running event loop. Raises ConfigError for invalid rules, before anything
    is opened."""
    deps = create_dependencies(settings)
    register_consumers(deps)
    learning = learning_loops(deps) if deps.learns else []
    return Service(
        "shield",
        loops=[
            partial(check_roles, (deps.system_database, deps.tenant_database), deps.health),
            deps.kafka.run,
            partial(become_ready, deps),
            create_rpc_server(deps).run,
            *create_maintenance_loops(deps),
            *learning,
        ],
        close=deps.close,
        health=deps.health,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        health_listen=settings.health_listen,
    )


def create_dependencies(settings: Settings) -> Dependencies:
    scorer, setup = read_scorer(settings)
    versions = screening.ScorerVersion(scorer.book.version, scorer.model.version)
    limits = scorer.book.thresholds
    health = DependencyHealth()
    health.unavailable.add(STARTING)
    kafka = Kafka.from_settings(settings, health, client="shield")
    system = Database(settings.system_database_url, name="shield_system", session=PLANS)
    tenant = Database(
        settings.tenant_database_url, name="shield_tenant", connections_max=4, session=PLANS
    )
    shadow = read_shadow(settings, kafka)
    return Dependencies(
        settings,
        health,
        kafka,
        ReplicatedTable(Tenant, kafka),
        open_store(settings.content_store_url),
        ScreeningChild(create_child(settings, "shield.stream", setup), limits, versions),
        ScreeningChild(create_child(settings, "shield.dry_runs", setup), limits, versions),
        create_link_lists(settings),
        system,
        tenant,
        Outbox(system, SCHEMA, kafka.publish, sweep_after_s=settings.outbox_sweep_after_s),
        Lease(system, SCHEMA, LEARNER, lease_s=settings.lease_s),
        setup,
        shadow,
        create_start_recorder(kafka, versions, shadow),
    )


def read_shadow(settings: Settings, kafka: Kafka) -> ShadowModelScorer | None:
    """None without a second model. Raises ConfigError."""
    if settings.shadow_model_file is None:
        return None
    scorer, setup = read_scorer(settings, shadow=settings.shadow_model_file)
    return create_shadow(
        kafka,
        create_child(settings, "shield.shadow", setup, niceness=NICENESS),
        scorer.book.thresholds,
        versions=screening.ScorerVersion(scorer.book.version, scorer.model.version),
        share=settings.shadow_share,
    )


def register_consumers(deps: Dependencies) -> None:
    settings = deps.settings
    handler = ScreeningHandler(
        deps.content,
        deps.tenants,
        SecretKeyring(settings.secret_keys),
        deps.screening_child,
        settings.tenant_wait_max_s,
        deps.link_lists,
        create_campaigns(deps) if deps.learns else None,
        observe=deps.shadow.offer if deps.shadow else None,
        shadow_share=settings.shadow_share if deps.compares_versions else 0.0,
    )
    accepted = StreamProcessor(
        MessageAccepted,
        name="shield.accepted",
        handler=handler.on_accepted,
        health=deps.health,
        send=deps.kafka.publish,
        guard=DeadLetterGuard(ratio_max=settings.dead_letter_ratio_max),
        referenced_bytes=lambda event: event.context.content_bytes,
        linger_s=settings.linger_s,
    )
    deps.kafka.consume(accepted, group=settings.group)
    deps.kafka.declare(MessageScreened, ShadowDiffered, OutcomeRecorded, CampaignAssessed)
    deps.kafka.declare(ModelPublished, ModelVersionChanged)


def create_rpc_server(deps: Dependencies) -> RpcServer:
    server = status.create_rpc_server(deps.settings, deps.settings.rpc_listen, deps.system_database)
    servicer = ShieldServicer(
        deps.dry_run_child,
        deps.tenants,
        deps.models.table,
        deps.system_database,
        deps.tenant_database,
        deps.kafka.publish,
        deps.settings.learning,
        deps.link_lists,
    )
    add_ShieldServiceServicer_to_server(servicer, server.grpc)
    return server


async def become_ready(deps: Dependencies) -> None:
    """Report ready once the directory is replayed."""
    await deps.tenants.replayed.wait()
    deps.health.unavailable.discard(STARTING)


def create_maintenance_loops(deps: Dependencies) -> list[Loop]:
    health = deps.health
    list_tests = [deps.link_lists.test_due] if deps.link_lists else []
    outbox = create_loops(deps.outbox.loop_actions(SWEEP_INTERVAL_S), health)
    maintenance = CampaignMaintenance(deps.system_database)
    return [
        *outbox,
        partial(run_every, MAINTENANCE_INTERVAL_S, maintenance.run_once, health),
        *(partial(run_every, LIST_TEST_INTERVAL_S, one, health) for one in list_tests),
        partial(retry_while_unavailable, deps.screening_child.child.start, health),
        partial(retry_while_unavailable, deps.dry_run_child.child.start, health),
        partial(run_every, MOUNT_CHECK_INTERVAL_S, partial(check_mounted, deps.content), health),
        *([deps.shadow.run] if deps.shadow else []),
        deps.models.run,
    ]


def create_link_lists(settings: Settings) -> LinkBlockLists | None:
    """None without a list of domains. Raises ConfigError."""
    lists = [one for one in read_blocklists(settings) if EntryKind.DOMAIN in one.kinds]
    if not lists:
        return None
    suffixes()  # before there is mail
    resolver = system_resolver(
        settings.nameservers, timeout_s=settings.dns_timeout_s, setting="SHIELD_NAMESERVERS"
    )
    return LinkBlockLists(resolver, ListHealth(lists), wait_s=settings.link_listing_wait_s)


def read_blocklists(settings: Settings) -> list[Blocklist]:
    """Those to query. Raises ConfigError."""
    try:
        own = Path(settings.blocklists_file).read_text("utf-8") if settings.blocklists_file else ""
        return select(
            parse_blocklists(shipped(), own),
            names=settings.blocklists,
            keys={name: key.get_secret_value() for name, key in settings.blocklist_keys.items()},
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"OBM_BLOCKLISTS, …_FILE and OBM_BLOCKLIST_KEYS: {error}") from error


def create_child(settings: Settings, name: str, setup: bytes, *, niceness: int = 0) -> Child:
    bounds = ChildLimits(settings.message_cpu_s, settings.message_memory_mib << 20, niceness)
    return Child(name, f"{screening.__name__}:create_screen", setup, limits=bounds)


def read_scorer(settings: Settings, *, shadow: Path | None = None) -> tuple[Scorer, bytes]:
    """The rules and the live model, or the one in `shadow`, checked, and the setup of a child that
    has them too. Raises ConfigError."""
    model_file, setting = settings.model_file, "SHIELD_MODEL_FILE"
    if shadow is not None:
        model_file, setting = shadow, "SHIELD_SHADOW_MODEL_FILE"
    packed = read_file(setting, model_file)
    rules = read_file("SHIELD_RULES_FILE", settings.rules_file)
    try:
        model = load_model(packed)
    except ModelError as error:
        raise file_error(setting, model_file, error) from error
    try:
        text = rules.decode()
        scorer = Scorer(with_thresholds(parse_rulebook(text), settings), model)
    except (TOMLDecodeError, RuleError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise file_error("SHIELD_RULES_FILE", settings.rules_file, error) from error
    return scorer, screening.encode_setup(text, packed)


def read_file(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise file_error(setting, path, error) from error


def file_error(setting: str, path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"{setting} {path}: {error}")


def with_thresholds(book: Rulebook, settings: Settings) -> Rulebook:
    limits = thresholds_of_tenant(settings.hold_score, settings.block_score, book.thresholds)
    return replace(book, thresholds=limits)
