"""While DKIM keys are rotated under load, every message verifies against what DNS publishes: when
it is signed, and when it arrives days later."""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dkim as dkimpy
import dns.asyncresolver
import pytest

from contracts.ingest.v1.directory_pb2 import Domain
from kernel.brand import Brand, Brands
from kernel.crypto import SecretKeyring, new_secret_key
from kernel.resolver import AuthoritativeResolver, system_resolver
from mail.domain_check import check_records
from services.delivery.clients.rendering_keys import signer_of
from services.ingest.clients.domain_dns import look_up_records
from services.ingest.domain.dkim_rotation import RETIRED_FOR
from services.ingest.domain.verification import VERIFIED
from services.ingest.loops.domain_checks import apply_checks
from services.ingest.store.domain_keys import DomainKeyring, InstallationHosts
from services.ingest.store.domains import VerificationState, new_check
from tests.support.name_server import NameServer, name_server

NAME = "shop.customer.org"
BODY = b"It is on its way.\r\n"
HEADERS = [b"From: Shop <a@shop.customer.org>\r\n", b"Subject: Order\r\n", b"To: b@c.example\r\n"]
LAG = 3  # versions of the directory that delivery may be behind
ROTATIONS = 3
MESSAGES = 60  # between two steps


@dataclass
class Simulation:
    """A customer's zone, and the versions of the domain that delivery may have."""

    server: NameServer
    resolver: AuthoritativeResolver
    lookup: dns.asyncresolver.Resolver
    keyring: SecretKeyring
    keys: DomainKeyring
    domain: Domain
    check: VerificationState
    now: datetime = datetime(2026, 11, 1, tzinfo=UTC)
    versions: list[Domain] = field(default_factory=list)
    in_transit: list[bytes] = field(default_factory=list)
    answers: dict[str, bytes] = field(default_factory=dict)  # of the zones as they are

    def publish(self) -> None:
        """The customer's zone, and that of the installation."""
        records = (*self.keys.records(self.domain), *self.keys.zone_records(self.domain))
        zone: dict[str, dict[str, list[str]]] = {}
        for one in records:
            text = one.zone_line.partition(f" IN {one.type} ")[2]
            zone.setdefault(one.name, {})[one.type] = [text]
        self.server.records = zone
        self.answers.clear()

    async def check_dns(self) -> None:
        records = self.keys.records(self.domain)
        published = await look_up_records(self.resolver, NAME, records)
        checks = check_records(records, published)
        changed = Domain.FromString(self.domain.SerializeToString())
        self.check = apply_checks(changed, self.check, checks, now=self.now)
        self.save(changed)

    def save(self, changed: Domain) -> None:
        self.domain = changed
        self.versions = [*self.versions, changed][-LAG:]

    async def send(self) -> None:
        """Sign with any version that delivery may have, and verify at once."""
        for _ in range(MESSAGES):
            signer = signer_of(random.choice(self.versions), self.keyring)
            message = b"".join([signer.sign(HEADERS, BODY, self.now), *HEADERS, b"\r\n", BODY])
            self.in_transit.append(message)
            await self.verify(message)

    async def verify(self, message: bytes) -> None:
        """Both signatures, as a receiving server does."""
        names = [part.split(b"s=")[1].split(b";")[0] for part in message.split(b"DKIM-S")[1:]]
        for selector in names:
            name = f"{selector.decode()}._domainkey.{NAME}."
            if name not in self.answers:
                answer = await self.lookup.resolve(name, "TXT")
                self.answers[name] = b"".join(answer.rrset[0].strings)  # type: ignore[index]
        checker = dkimpy.DKIM(message)
        for index in range(2):
            assert checker.verify(index, dnsfunc=self.answer)

    def answer(self, name: bytes, timeout: float = 5.0) -> bytes:
        return self.answers[name.decode()]


@pytest.mark.parametrize("zone", ["", "dkim.mail.platform.org"])
async def test_every_message_verifies_at_every_instant_of_a_rotation(zone: str) -> None:
    """zone: of the installation, to which the customer's records lead."""
    keyring = SecretKeyring([new_secret_key()])
    brands = Brands({"default": Brand(dkim_zone=zone)})
    keys = DomainKeyring(
        keyring, InstallationHosts.of("mx.platform.org"), brands, report_key=bytes(16)
    )
    async with name_server({}) as (server, address):
        lookup = system_resolver((address,), timeout_s=5.0)
        lookup.cache = None
        domain = await keys.new_domain(NAME, tenant_id="t", account_id="a")
        authority = AuthoritativeResolver(lookup, is_allowed=lambda _: True)
        simulation = Simulation(server, authority, lookup, keyring, keys, domain, new_check(domain))
        simulation.publish()
        await simulation.check_dns()
        assert simulation.domain.status == VERIFIED
        aliases = [one for one in keys.records(domain) if one.type == "CNAME"]
        assert len(aliases) == (2 if zone else 0)
        assert all(one.value.endswith(f".{zone}") for one in aliases)
        for _ in range(ROTATIONS):
            await rotate(simulation)
        assert simulation.domain.status == VERIFIED


async def rotate(simulation: Simulation) -> None:
    first = simulation.domain.rsa_selector
    simulation.in_transit.clear()
    changed = Domain.FromString(simulation.domain.SerializeToString())
    changed.pending_keys.CopyFrom(await simulation.keys.new_keys())
    simulation.save(changed)
    for _ in range(2):  # not published yet: nothing changes
        await asyncio.gather(simulation.send(), simulation.check_dns())
        assert simulation.domain.rsa_selector == first
    simulation.publish()
    await asyncio.gather(simulation.send(), simulation.check_dns())
    assert simulation.domain.rsa_selector != first
    await simulation.send()
    simulation.now += RETIRED_FOR - timedelta(hours=1)
    await asyncio.gather(simulation.send(), simulation.check_dns())
    for message in simulation.in_transit:  # the slowest mail arrives
        await simulation.verify(message)
    simulation.now += timedelta(hours=2)
    await simulation.check_dns()
    assert not simulation.domain.HasField("retired_keys")
    simulation.publish()  # the old records are gone
    for _ in range(LAG):
        await simulation.check_dns()
    await simulation.send()
