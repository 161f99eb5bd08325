"""Composition root of shield."""

from dataclasses import replace
from functools import partial
from tomllib import TOMLDecodeError

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.shield.v1.events_pb2 import MessageScreened
from contracts.shield.v1.shield_service_pb2_grpc import add_ShieldServiceServicer_to_server
from kernel.child import Child, ChildLimits
from kernel.content import MOUNT_CHECK_INTERVAL_S, check_mounted, open_store
from kernel.crypto import SecretKeyring
from kernel.errors import ConfigError
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.processor import DeadLetterGuard, StreamProcessor
from kernel.retry import retry_while_unavailable
from kernel.rpc import RpcServer
from kernel.service import Service, run_every
from kernel.table import ReplicatedTable
from services.shield.api import ShieldApi
from services.shield.clients import Reader
from services.shield.domain import reader
from services.shield.domain.rulebook import Rulebook, RuleError, parse_rulebook
from services.shield.domain.scoring import Scorer, thresholds_of_tenant
from services.shield.handlers import Handlers
from services.shield.settings import Settings

DIRECTORY = "directory"


def create_service(settings: Settings) -> Service:
    """Must be called inside the running loop. Raises ConfigError for invalid rules, before anything
    is opened."""
    rules = read_rules(settings)
    book = load_rulebook(settings, rules)
    stream, dry_runs = (
        Reader(open_child(settings, f"shield.{use}", rules), book) for use in ("stream", "dry_runs")
    )
    health = DependencyHealth()
    kafka = Kafka.from_settings(settings, health, client="shield")
    tenants = ReplicatedTable(Tenant, kafka)
    content = open_store(settings.content_store_url)
    handlers = Handlers(
        content, tenants, SecretKeyring(settings.secret_keys), stream, settings.tenant_wait_max_s
    )
    consume(settings, kafka, handlers)
    server = open_rpc_server(settings, ShieldApi(dry_runs, tenants))
    health.unavailable.add(DIRECTORY)

    async def close() -> None:
        await kafka.close()
        await stream.child.close()
        await dry_runs.child.close()

    return Service(
        "shield",
        [
            kafka.run,
            server.run,
            partial(wait_for_directory, tenants, health),
            partial(retry_while_unavailable, stream.child.ready, health),
            partial(retry_while_unavailable, dry_runs.child.ready, health),
            partial(run_every, MOUNT_CHECK_INTERVAL_S, partial(check_mounted, content), health),
        ],
        close,
        health,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        health_listen=settings.health_listen,
    )


async def wait_for_directory(tenants: ReplicatedTable[Tenant], health: DependencyHealth) -> None:
    await tenants.replayed.wait()
    health.unavailable.discard(DIRECTORY)


def consume(settings: Settings, kafka: Kafka, handlers: Handlers) -> None:
    accepted = StreamProcessor(
        MessageAccepted,
        name="shield.accepted",
        handler=handlers.on_accepted,
        health=kafka.health,
        send=kafka.publish,
        guard=DeadLetterGuard(ratio_max=settings.dead_letter_ratio_max),
        referenced_bytes=lambda event: event.context.content_bytes,
        linger_s=settings.linger_s,
    )
    kafka.consume(accepted, group=settings.group)
    kafka.declare(MessageScreened)


def open_rpc_server(settings: Settings, api: ShieldApi) -> RpcServer:
    server = RpcServer(settings.rpc_listen, settings.rpc_token)
    add_ShieldServiceServicer_to_server(api, server.grpc)
    return server


def open_child(settings: Settings, name: str, rules: str) -> Child:
    bounds = ChildLimits(settings.message_cpu_s, settings.message_memory_mib << 20)
    return Child(name, f"{reader.__name__}:create_screener", rules.encode(), limits=bounds)


def read_rules(settings: Settings) -> str:
    """Raises ConfigError."""
    try:
        return settings.rules_file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise invalid_rules(settings, error) from error


def load_rulebook(settings: Settings, rules: str) -> Rulebook:
    """The compiled rules with the operator's thresholds. Raises ConfigError."""
    try:
        return with_thresholds(Scorer(parse_rulebook(rules)).book, settings)
    except (TOMLDecodeError, RuleError, KeyError, TypeError) as error:
        raise invalid_rules(settings, error) from error


def invalid_rules(settings: Settings, error: Exception) -> ConfigError:
    return ConfigError(f"SHIELD_RULES_FILE {settings.rules_file}: {error}")


def with_thresholds(book: Rulebook, settings: Settings) -> Rulebook:
    limits = thresholds_of_tenant(settings.hold_score, settings.block_score, book.thresholds)
    return replace(book, thresholds=limits)
