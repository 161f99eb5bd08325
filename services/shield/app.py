"""Composition root: the only place where shield is wired together."""

from dataclasses import replace
from functools import partial
from tomllib import TOMLDecodeError

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.shield.v1.events_pb2 import MessageScreened
from contracts.shield.v1.shield_service_pb2_grpc import add_ShieldServiceServicer_to_server
from kernel.backoff import Health, patiently
from kernel.child import Bounds, Child
from kernel.content import FIND_EVERY_S, find, open_store
from kernel.crypto import Secrets
from kernel.errors import BadSetting
from kernel.kafka import Kafka
from kernel.rpc import Server
from kernel.service import Service, every
from kernel.stream import Brake, Stream
from kernel.table import Table
from services.shield.api import ShieldApi
from services.shield.clients import Reader
from services.shield.domain import reader
from services.shield.domain.rulebook import Rulebook, RuleError, parse
from services.shield.domain.scoring import Scorer, of_tenant
from services.shield.handlers import Handlers
from services.shield.settings import Settings

DIRECTORY = "directory"


def create(settings: Settings) -> Service:
    """Inside the running loop. Raises BadSetting for wrong rules, before anything is opened."""
    rules = rules_of(settings)
    book = checked(settings, rules)
    stream, dry_runs = (
        Reader(child(settings, f"shield.{use}", rules), book) for use in ("stream", "dry_runs")
    )
    health = Health()
    kafka = Kafka.of(settings, health, client="shield")
    tenants = Table(Tenant, kafka)
    content = open_store(settings.content_store_url)
    handlers = Handlers(
        content, tenants, Secrets(settings.secret_keys), stream, settings.tenant_within_s
    )
    consume(settings, kafka, handlers)
    server = serving(settings, ShieldApi(dry_runs, tenants))
    health.away.add(DIRECTORY)

    async def close() -> None:
        await kafka.close()
        await stream.child.close()
        await dry_runs.child.close()

    return Service(
        "shield",
        [
            kafka.run,
            server.run,
            partial(replay, tenants, health),
            partial(patiently, stream.child.ready, health),
            partial(patiently, dry_runs.child.ready, health),
            partial(every, FIND_EVERY_S, partial(find, content), health),
        ],
        close,
        health,
        drain_s=settings.drain_s,
        health_host=settings.health_host,
        health_port=settings.health_port,
    )


async def replay(tenants: Table[Tenant], health: Health) -> None:
    await tenants.replayed.wait()
    health.away.discard(DIRECTORY)


def consume(settings: Settings, kafka: Kafka, handlers: Handlers) -> None:
    accepted = Stream(
        MessageAccepted,
        name="shield.accepted",
        handler=handlers.on_accepted,
        health=kafka.health,
        send=kafka.publish,
        brake=Brake(parked_share_max=settings.parked_share_max),
        referenced_bytes=lambda event: event.envelope.content_bytes,
        gather_s=settings.gather_s,
    )
    kafka.consume(accepted, group=settings.group)
    kafka.declare(MessageScreened)


def serving(settings: Settings, api: ShieldApi) -> Server:
    server = Server(settings.rpc_listen, settings.rpc_token)
    add_ShieldServiceServicer_to_server(api, server.grpc)
    return server


def child(settings: Settings, name: str, rules: str) -> Child:
    bounds = Bounds(settings.message_cpu_s, settings.message_memory_mib << 20)
    return Child(name, f"{reader.__name__}:start", rules.encode(), bounds=bounds)


def rules_of(settings: Settings) -> str:
    """Of the installation. Raises BadSetting."""
    try:
        return settings.rules_file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise wrong_rules(settings, error) from error


def checked(settings: Settings, rules: str) -> Rulebook:
    """With the operator's thresholds, and sure to compile. Raises BadSetting."""
    try:
        return adjusted(Scorer(parse(rules)).book, settings)
    except (TOMLDecodeError, RuleError, KeyError, TypeError) as error:
        raise wrong_rules(settings, error) from error


def wrong_rules(settings: Settings, error: Exception) -> BadSetting:
    return BadSetting(f"SHIELD_RULES_FILE {settings.rules_file}: {error}")


def adjusted(book: Rulebook, settings: Settings) -> Rulebook:
    limits = of_tenant(settings.hold_score, settings.block_score, book.thresholds)
    return replace(book, thresholds=limits)
