"""delivery with recipient domains that have TLS policies: their DNS, policy hosts and servers."""

from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from contracts.delivery.v1 import events_pb2 as events
from contracts.router.v1.events_pb2 import DeliveryAssigned, MxHost
from tests.support.authority import DAY, Certified
from tests.support.delivery import Harness, Running
from tests.support.name_server import NameServer, name_server
from tests.support.policy_server import PolicyServer, policy_server
from tests.support.smtp_peer import SmtpPeer

ROOT = Certified.root("root")
Records: TypeAlias = dict[str, Mapping[str, list[str] | str] | str]


def certificate_of(kind: str, host: str) -> Certified:
    if kind == "self-signed":
        return Certified.self_signed(host)
    authority = Certified.root("unknown") if kind == "unknown" else ROOT
    if kind == "expired":
        return authority.server(host, since=-3 * DAY, until=-DAY)
    return authority.server("mx.other.example" if kind == "other" else host)


def reported_failures(harness: Harness) -> dict[str, str]:
    """What the TLS reports of the day will call the failed session of each domain."""
    with harness.database.connect() as owner:
        query = "SELECT domain, failure::jsonb ->> 'result' FROM delivery.tls_results"
        rows = owner.execute(query).fetchall()
    return {str(domain): str(kind) for domain, kind in rows if kind}


@dataclass(frozen=True)
class World:
    """delivery, its DNS, and the policy hosts."""

    harness: Harness
    records: Records
    names: NameServer
    policies: PolicyServer
    running: Running

    async def assign(
        self,
        domain: str,
        *peers: SmtpPeer,
        site: str = "",
        **more: Any,  # noqa: ANN401 - fields of the contract
    ) -> list[DeliveryAssigned]:
        """A message to the MX hosts of a domain, best first: mx.DOMAIN, mx2.DOMAIN, …"""
        hosts = [
            MxHost(
                host=f"mx{number if number > 1 else ''}.{domain}", preference=number, port=one.port
            )
            for number, one in enumerate(peers, 1)
        ]
        to = f"friend@{domain}"
        return await self.harness.assign(
            to, hosts=hosts, static_route=False, site=site or domain, **more
        )

    async def send(
        self,
        domain: str,
        *peers: SmtpPeer,
        **more: Any,  # noqa: ANN401
    ) -> events.DeliveryAttempted:
        [result] = (await self.running.send(await self.assign(domain, *peers, **more))).values()
        return result


def records_of(domain: str, *, policy_id: str = "1") -> Records:
    address: Mapping[str, list[str] | str] = {"A": ["127.0.0.1"]}
    txt: Records = (
        {f"_mta-sts.{domain}": {"TXT": [f'"v=STSv1; id={policy_id};"']}} if policy_id else {}
    )
    names = (f"mx.{domain}", f"mx2.{domain}", f"mta-sts.{domain}")
    return {**dict.fromkeys(names, address), **txt}


@asynccontextmanager
async def world_of(
    harness: Harness,
    domains: Sequence[str],
    *,
    responses: dict[str, bytes | None],
    monkeypatch: pytest.MonkeyPatch,
    wrong: Sequence[str] = (),
    more: Records | None = None,
    insecure: AbstractSet[str] = frozenset(),
    **settings: Any,  # noqa: ANN401
) -> AsyncIterator[World]:
    """wrong: domains whose policy hosts have a wrong certificate. more: records. insecure: names
    that DNSSEC does not prove; if there are some, DANE is used."""
    records: Records = {}
    for domain in domains:
        records |= records_of(domain, policy_id="1" if domain in responses else "")
    records |= more or {}
    root = harness.folder / "root.pem"
    root.write_bytes(ROOT.certificate.public_bytes(Encoding.PEM))
    right = [one for one in domains if one not in wrong]
    with monkeypatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(root))
        async with (
            name_server(records) as (names, address),
            policy_server(responses, ROOT, right, monkeypatch) as policies,
            harness.running(
                nameservers=[address], dnssec_nameservers=[address] if insecure else [], **settings
            ) as running,
        ):
            names.is_secure = lambda name: name not in insecure
            yield World(harness, records, names, policies, running)
