"""Wires the listener of links in mail."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kernel.crypto import derived_key
from kernel.database import Database
from kernel.errors import ConfigError
from kernel.health import DependencyHealth
from kernel.host_challenge import HostChallenges
from kernel.http_server import HttpServer, Refusal
from kernel.outbox import Outbox
from kernel.service import Close, Loop, create_loops
from kernel.tls import CertificateFiles, Certificates, FindPair
from mail.bot_hits import BotRule, default_rules, parse_rules
from services.events.api.tracking.app import TrackingApp
from services.events.api.tracking.hosts import LinkHostRegistry
from services.events.api.tracking.recorder import HitRecorder
from services.events.app.certificates import HostTlsComponents
from services.events.domain.hit import ClientAnonymizer
from services.events.loops.tracking_hits import HitSpoolReader
from services.events.settings import Settings
from services.events.store.hit_spool import HitSpool

INTERVAL_S = 0.3


class TrackingComponents(NamedTuple):
    """Nothing without an address."""

    loops: Sequence[Loop] = ()
    parts: Sequence[Close] = ()  # to close


def create_tracking(
    settings: Settings,
    *,
    database: Database,
    outbox: Outbox,
    health: DependencyHealth,
    hosts: LinkHostRegistry,
    certificates: Mapping[str, CertificateFiles],
    host_tls: HostTlsComponents,
) -> TrackingComponents:
    """Raises ConfigError. certificates: by host. host_tls: of the hosts of domains."""
    if not settings.tracking_listen and not settings.tracking_tls_listen:
        return TrackingComponents()
    rules = default_rules() + read_rules(settings.tracking_machines_file)
    spool = HitSpool(
        Path(settings.tracking_spool), bytes_max=settings.tracking_spool_mb_max * 1_000_000
    )
    recorder = HitRecorder(spool)
    keys = [derived_key(key, "tracking") for key in settings.secret_keys]
    clients = ClientAnonymizer(derived_key(settings.secret_keys[0], "tracking source"), rules)
    app = TrackingApp(keys, recorder, clients, hosts=hosts)
    hits = HitSpoolReader(
        database, outbox, spool, rules, health,
        linger_s=settings.tracking_linger_s, unknown_wait_s=settings.tracking_unknown_wait_s,
    )  # fmt: skip
    loops = [
        *create_servers(settings, app, certificates, find=host_tls.find),
        *host_tls.loops,
        # Of its own health: a spool that cannot be read must not make the rest of events not ready.
        *create_loops([(INTERVAL_S, hits.run_once)], DependencyHealth()),
    ]
    return TrackingComponents(loops, [recorder.close, *host_tls.parts])


def create_servers(
    settings: Settings,
    app: TrackingApp,
    certificates: Mapping[str, CertificateFiles],
    *,
    find: FindPair,
) -> list[Loop]:
    loops: list[Loop] = []
    challenges = HostChallenges(settings.secret_keys)
    tls = None
    if settings.tracking_tls_listen and (files := settings.certificate()) is not None:
        found = Certificates(files, certificates, find=find)
        tls = found.context(alpn=["http/1.1"])
        loops.append(found.watch)
    for listen, context in ((settings.tracking_listen, None), (settings.tracking_tls_listen, tls)):
        if listen:
            server = HttpServer(
                challenges.answered_before(app),
                listen,
                refusal=lambda _: Refusal(),
                trusted_proxies=settings.tracking_trusted_proxies,
                connections_max=settings.tracking_connections_max,
                tls=context,
            )
            loops.append(server.run)
    return loops


def read_rules(path: str) -> tuple[BotRule, ...]:
    """The operator's rules. Raises ConfigError."""
    if not path:
        return ()
    try:
        return parse_rules(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"EVENTS_TRACKING_MACHINES_FILE: {error}") from error
