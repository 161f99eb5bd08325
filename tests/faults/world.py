"""An engine of five processes under load, with its servers, clients, receivers and their logs."""

import json
import os
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import psycopg

from bench.child import child
from bench.sink.client import RunningSink, sink
from cli.environment import Ports, environment, migrate_all
from cli.processes import Process, Processes
from kernel.embedded import EmbeddedStack
from tests.faults.client import Client
from tests.support.accounts import add_webhook, change_account, create_account
from tests.support.stack import disposable

SITES = 4
QUIET_SITES = 10
SENDER_DOMAIN = "faults.obm-sender.net"
# Long, because the machine may be busy; shorter for seeded bugs that lose messages.
DRAIN_TIMEOUT_S = float(os.environ.get("OBM_FAULTS_DRAIN_S", "240"))
POLL_S = 0.25
PASSED_TIMEOUT_S = 90.0  # the machine may be busy

# Timeouts of seconds instead of minutes: the same code with other settings.
SHORT_TIMEOUTS = {
    "OBM_KAFKA_PARTITIONS_MAX": "12",
    "OBM_KAFKA_SESSION_TIMEOUT_S": "2",
    "OBM_OUTBOX_SWEEP_AFTER_S": "1",
    "ROUTER_RETRY_SCHEDULE_S": "1,1,2,2,4",
    "ROUTER_GREYLISTED_RETRY_S": "1",
    "ROUTER_ASSIGNMENT_VALID_S": "20",
    "ROUTER_REPUBLISH_AFTER_S": "3",
    "ROUTER_REPUBLISH_INTERVAL_S": "1",
    "ROUTER_REPUBLISH_BACKOFF_MAX_S": "6",
    "OBM_LEASE_S": "3",
    "DELIVERY_WORKER_LEASE_S": "3",
    "DELIVERY_RECOVERY_INTERVAL_S": "1",
    "DELIVERY_ORPHAN_AFTER_S": "5",
    "EVENTS_WEBHOOK_RETRY_SCHEDULE_S": "0,1,1,2,2,4,4,8,8,8,8,8",
    "EVENTS_WEBHOOK_TIMEOUT_S": "3",
    "EVENTS_WEBHOOK_LEASE_S": "9",
    "EVENTS_WEBHOOK_PROBE_INTERVAL_S": "1",
    "OBM_LOG_FORMAT": "json",
}

# The only plan includes so few messages that each run passes all thresholds.
PLAN, INCLUDED = "measured", 40
PRICES = f"""
currency = "USD"
[[prices]]
effective_from = 2026-01-01
[prices.plans.{PLAN}]
name = "Measured"
fee = "1"
features = ["api", "smtp"]
retention_days = 30
[prices.plans.{PLAN}.meters]
sends = {{ included = {INCLUDED}, per = 1_000, tiers = [{{ amount = "1" }}] }}
"""

# The audit runs only in scenarios that lose the broker's disk; in others it would hide a loss.
AUDIT_INTERVALS = {
    "INGEST_AUDIT_INTERVAL_S": "2",
    "INGEST_AUDIT_OPEN_AFTER_S": "20",
    "INGEST_AUDIT_CLOSED_AFTER_S": "20",
    "INGEST_AUDIT_REPEAT_AFTER_S": "10",
}


class KafkaServer(Protocol):
    """`Kafka`, or several brokers with its methods."""

    @property
    def client_settings(self) -> Mapping[str, str]: ...
    @property
    def running(self) -> bool: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def wipe(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class PostgresServer(Protocol):
    """`Postgres`, or a pair with its methods."""

    @property
    def running(self) -> bool: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...


class Servers(Protocol):
    """`EmbeddedStack`, or several of each."""

    @property
    def kafka(self) -> KafkaServer: ...
    @property
    def postgres(self) -> PostgresServer: ...
    @property
    def database_url(self) -> str: ...


@dataclass
class World:
    """folder: contains all data and logs. account_id, tenant_id: whose mail the client sends.
    data_sent_count: attempts that may be ambiguous. reacted: the webhook that tells of the reaction
    of a recipient. sent_again: recipients whose attempts a restore has forgotten. replicas: second
    processes of services. notes: what a scenario has measured."""

    folder: Path
    stack: Servers
    processes: Processes
    environment: Mapping[str, str]
    sink: RunningSink
    webhook_url: str
    client: Client
    account_id: str
    tenant_id: str
    seed: int = 0
    data_sent_count: int = 0
    faults: int = 0
    reacted: dict[str, str] = field(default_factory=dict)
    sent_again: set[str] = field(default_factory=set)
    replicas: list[Process] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def listens(self, setting: str) -> list[str]:
        """The addresses of a listener, one per replica."""
        return [self.environment[setting], *(one.environment[setting] for one in self.replicas)]

    def database(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self.stack.database_url, autocommit=True, connect_timeout=60)

    def count(self, query: str) -> int:
        with self.database() as connection:
            row = connection.execute(query.encode()).fetchone()
        return int(str(row[0])) if row else 0

    def record_data_sent(self) -> None:
        """Delivery has just died or frozen: attempts in stage data_sent may become ambiguous."""
        self.data_sent_count += self.count(DATA_SENT)

    def record_fault(self, name: str) -> None:
        """A service has just died or frozen."""
        self.faults += 1
        if name == "delivery":
            self.record_data_sent()

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.record_fault(name)

    def random_delay_s(self, turn: int) -> float:
        """A delay that differs from turn to turn, and is the same for the same seed."""
        return random.Random(f"{self.seed} {turn}").uniform(0.3, 2.0)

    def pause(self, turn: int) -> None:
        time.sleep(self.random_delay_s(turn))

    def kill_kafka(self) -> None:
        self.stack.kafka.kill()
        self.faults += 1

    def kill_postgres(self) -> None:
        self.record_data_sent()
        self.stack.postgres.kill()
        self.faults += 1

    def have_arrived(self, recipients: Collection[str], number: int) -> bool:
        return self.count_arrivals(recipients) >= number

    def count_arrivals(self, recipients: Collection[str]) -> int:
        """The number of these recipients at the sink."""
        entries = read_json_lines(self.folder / "sink.jsonl")
        return len({entry["recipient"] for entry in entries} & {*recipients})

    def recover(self) -> None:
        """Start or resume every server and process that a scenario has stopped."""
        for server in (self.stack.kafka, self.stack.postgres):
            if not server.running:
                server.start()
        for process in self.processes.all():
            process.resume()
            if not process.running:
                process.start()
        for process in self.processes.all():
            process.await_ready()

    def drain(self) -> None:
        """Stop the load and wait until all messages are closed in the log and all webhooks sent."""
        self.client.stop()
        wait_until(self.all_closed, DRAIN_TIMEOUT_S, "accepted messages are still open")
        wait_until(self.all_webhooks_delivered, DRAIN_TIMEOUT_S, "webhooks are still queued")

    def all_closed(self) -> bool:
        return self.count(OPEN_SOMEWHERE) == 0

    def all_webhooks_delivered(self) -> bool:
        return self.count("SELECT count(*) FROM events.webhook_deliveries WHERE state = 0") == 0


DATA_SENT = "SELECT count(*) FROM delivery.attempts WHERE stage = 'data_sent'"
# Also messages whose 202 the client did not receive. EventKind.CLOSED is 6.
OPEN_SOMEWHERE = """
SELECT count(*) FROM ingest.messages AS m WHERE closed_state IS NULL OR NOT EXISTS (
    SELECT FROM events.log WHERE subject_id = m.message_id AND kind = 6)
"""


def wait_until(condition: Callable[[], bool], timeout_s: float, problem: str) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise AssertionError(problem)
        time.sleep(POLL_S)


@contextmanager
def start_world(
    folder: Path,
    *,
    seed: int,
    rate_per_s: float,
    audited: bool = False,
    process: type[Process] = Process,
    more_settings: Mapping[str, str] = MappingProxyType({}),
    sink_options: Sequence[str] = (),
) -> Iterator[World]:
    """Start servers, processes and a steady load; stop them at the end. more_settings: of all
    services, in place of others."""
    with ExitStack() as stack:
        servers = stack.enter_context(disposable(EmbeddedStack(folder / "stack")))
        own = [f"--sites={SITES}", f"--log={folder / 'sink.jsonl'}"]
        sites = stack.enter_context(sink([*own, *sink_options]))
        webhooks = stack.enter_context(
            child("bench.receiver", [f"--log={folder / 'webhooks.jsonl'}"])
        )
        ports = Ports.find_free()
        settings = settings_of(folder, servers, ports, audited=audited)
        (folder / "prices.toml").write_text(PRICES)
        settings["OBM_PRICES_FILE"] = str(folder / "prices.toml")
        settings["ROUTER_ROUTES_FILE"] = str(routes_file(folder, sites))
        settings |= more_settings
        migrate_all(servers.database_url)
        customer = create_account(settings, SENDER_DOMAIN)
        change_account(settings, customer.account_id, plan=PLAN)
        processes = Processes(settings, folder, process=process)
        stack.callback(processes.stop)
        processes.start()
        webhook_url = f"http://127.0.0.1:{webhooks.ready['port']}/"
        add_webhook(ports.ingest_http, customer.api_key, webhook_url)
        listens, sender = [settings["INGEST_HTTP_LISTEN"]], f"orders@{SENDER_DOMAIN}"
        client = Client(listens, customer.api_key, sender, rate_per_s, seed)
        stack.callback(client.stop)
        client.start()
        yield World(
            folder, servers, processes, settings, sites, webhook_url, client,
            customer.account_id, customer.tenant_id, seed,
        )  # fmt: skip


def settings_of(
    folder: Path, servers: EmbeddedStack, ports: Ports, *, audited: bool
) -> dict[str, str]:
    return {
        **environment(
            folder,
            kafka=servers.kafka.client_settings,
            database_url=servers.database_url,
            ports=ports,
        ),
        **SHORT_TIMEOUTS,
        **(AUDIT_INTERVALS if audited else {}),
        "ROUTER_REPUTATION_POLICY": "none",  # many bounces and complaints must not pause the tenant
        "DELIVERY_RELAY_ALLOWED_NETWORKS": "127.0.0.0/8",
        "EVENTS_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
    }


def routes_file(folder: Path, sites: RunningSink) -> Path:
    """Each domain has an address of its own; other domains have the first. Some of these are sites
    of their own, which have no other mail."""
    path = folder / "routes.toml"
    routes = [(domain(number), address) for number, address in enumerate(sites.addresses)]
    lines = [route(name, address, sites.port) for name, address in routes]
    lines.append(route("*", sites.addresses[0], sites.port))
    for number in range(QUIET_SITES):
        site = quiet_site(number)
        own = route(f"{site}.obm-faults.net", sites.addresses[0], sites.port)
        lines.append(f'{own}site = "{site}"\n')
    path.write_text("\n".join(lines))
    return path


def route(domain: str, address: str, port: int) -> str:
    return f'[[route]]\ndomain = "{domain}"\nmx_hosts = ["{address}:{port}"]\n'


def quiet_site(number: int) -> str:
    return f"quiet{number}"


def domain(number: int) -> str:
    return f"site{number % SITES}.obm-faults.net"


def read_json_lines(path: Path) -> list[dict[str, object]]:
    """The entries of a log of JSON lines; the last line may be incomplete."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
