"""Wires the certificates of the hosts of domains."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from contracts.ingest.v1.directory_pb2 import TrackingHost
from kernel.crypto import SecretKeyring, derived_key
from kernel.database import Database
from kernel.health import DependencyHealth
from kernel.http_server import HttpServer, Refusal
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.resolver import system_resolver
from kernel.service import Close, Loop, create_loops
from kernel.table import ReplicatedTable
from kernel.tls import FindPair
from services.events.api.tracking.challenges import ChallengeApp
from services.events.api.tracking.hosts import LinkHostRegistry
from services.events.clients.caa import CaaResolver
from services.events.domain.certificates import account_key, thumbprint
from services.events.loops.certificates import (
    CertificateAuthority,
    CertificateCache,
    CertificateOrderer,
)
from services.events.settings import Settings

ORDER_INTERVAL_S = 1.0
READ_INTERVAL_S = 1.0
DNS_TIMEOUT_S = 5.0


class HostTlsComponents(NamedTuple):
    """Nothing without an authority."""

    find: FindPair = lambda _: None
    loops: Sequence[Loop] = ()
    parts: Sequence[Close] = ()  # to close


def create_host_tls(
    settings: Settings,
    *,
    database: Database,
    outbox: Outbox,
    secrets: SecretKeyring,
    records: ReplicatedTable[TrackingHost],
    hosts: LinkHostRegistry,
) -> HostTlsComponents:
    if not settings.acme_directory:
        return HostTlsComponents()
    key = account_key(derived_key(settings.secret_keys[0], "acme account"))
    known = CertificateCache(database, secrets)
    lease = Lease(database, "events", "certificates", lease_s=settings.lease_s)

    # Of its own health: an authority or a database that is away must not end links.
    health = DependencyHealth()
    orders = CertificateOrderer(
        database, outbox, health,
        hosts=records, lease=lease, secrets=secrets,
        open_authority=partial(open_authority, settings, key),
        caa=CaaResolver(system_resolver(settings.nameservers, timeout_s=DNS_TIMEOUT_S)),
        per_hour_max=settings.acme_orders_per_hour,
    )  # fmt: skip
    server = HttpServer(
        ChallengeApp(thumbprint(key), hosts),
        settings.acme_listen,
        refusal=lambda _: Refusal(),
        connections_max=settings.tracking_connections_max,
    )
    actions = [(ORDER_INTERVAL_S, orders.run_once), (READ_INTERVAL_S, known.run_once)]
    loops = [lease.maintain, server.run, *create_loops(actions, health)]
    return HostTlsComponents(known.find, loops, [lease.release])


def open_authority(settings: Settings, key: EllipticCurvePrivateKey) -> CertificateAuthority:
    # It takes 0.2 s to import, and no other service needs it.
    from services.events.clients.acme import AcmeClient  # noqa: PLC0415

    return AcmeClient(
        settings.acme_directory,
        key,
        ca_file=settings.acme_ca_file,
        contact=settings.acme_contact,
        binding=settings.account_binding(),
    )
