"""Which resolvers can prove TLSA records, and what the records of a domain's hosts require."""

import asyncio
import ssl
import struct
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.resolver
import dns.rrset
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from kernel import clock
from kernel.errors import ConfigError
from mail.mta_sts import MtaStsMode, MtaStsPolicy
from mail.tlsa import Tlsa
from services.delivery.clients.dane import FAILED_TTL_S, DaneClient, validating_resolver
from services.delivery.domain.attempt_result import DANE, ENFORCED, MTA_STS, ReceivingServer
from services.delivery.domain.tls_policy import (
    ENCRYPTED,
    OPPORTUNISTIC_TLS,
    DaneHosts,
    TlsaRecords,
    TlsPolicy,
)
from tests.support.authority import Certified

DOMAIN, HOST = "receiver.example", "mx.receiver.example"
LEAF, ANCHOR = Tlsa(3, 1, 1, b"l" * 32), Tlsa(2, 0, 1, b"a" * 32)
UNUSABLE = Tlsa(0, 0, 1, b"u" * 32)
STS = MtaStsPolicy(MtaStsMode.ENFORCE, ("mx.elsewhere.example",), 86_400)
ROOT = Certified.root("root")


def policy_with(*records: Tlsa, **more: object) -> TlsPolicy:
    hosts = {HOST: TlsaRecords(records, (HOST,)), "mx2.receiver.example": TlsaRecords((LEAF,))}
    return TlsPolicy(DOMAIN, dane=DaneHosts.of(DOMAIN, hosts), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.1",  # anybody on the way could set the AD bit
        "192.0.2.1:53",
        "[2001:db8::1]:53",
        "tls://192.0.2.1",
        "tls://192.0.2.1#",
        "tls://dns.example#dns.example",
        "dns.example",
        "",
    ],
)
def test_a_resolver_whose_answers_could_be_changed_on_the_way_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="DELIVERY_DNSSEC_NAMESERVERS"):
        validating_resolver([text])


@pytest.mark.parametrize(
    ("text", "kind", "port"),
    [
        ("127.0.0.1", "Do53", 53),
        ("127.0.0.53:5353", "Do53", 5353),
        ("[::1]:5353", "Do53", 5353),
        ("tls://192.0.2.1#dns.example", "DoT", 853),
        ("tls://192.0.2.1:8853#dns.example", "DoT", 8853),
        ("tls://[2001:db8::1]:8853#dns.example", "DoT", 8853),
    ],
)
def test_a_resolver_on_loopback_or_over_tls_is_used(text: str, kind: str, port: int) -> None:
    [server] = validating_resolver([text]).nameservers
    assert not isinstance(server, str)
    assert (server.kind(), server.answer_port()) == (kind, port)


def test_records_for_the_certificate_need_no_name_and_those_for_an_authority_do() -> None:
    found = policy_with(LEAF, UNUSABLE).requirement(HOST)
    assert (found.policy, found.tlsa, found.names) == (DANE, (LEAF,), ())
    found = policy_with(ANCHOR).requirement(HOST)
    assert (found.tlsa, found.names) == ((ANCHOR,), (HOST, DOMAIN))


def test_usable_records_take_precedence_over_mta_sts() -> None:
    policy = policy_with(LEAF, mta_sts=STS, enforced=True)
    assert policy.requirement(HOST).policy == DANE
    assert policy.refusal(HOST) is None
    assert policy.refusal(HOST.upper()) is None


def test_without_a_usable_record_tls_is_required_and_what_else_applies() -> None:
    assert policy_with(UNUSABLE).requirement(HOST) is ENCRYPTED
    assert policy_with(UNUSABLE, enforced=True).requirement(HOST).policy == ENFORCED
    strict = policy_with(UNUSABLE, mta_sts=STS)
    assert strict.requirement(HOST).policy == MTA_STS
    assert strict.refusal(HOST) is not None


def test_a_host_without_records_beside_one_with_them_is_opportunistic() -> None:
    assert policy_with().requirement(HOST) is OPPORTUNISTIC_TLS
    assert policy_with().refusal(HOST) is None


def test_a_host_that_is_not_proven_or_has_unknown_records_is_refused() -> None:
    refusal = policy_with(LEAF).refusal("mx.attacker.example")
    assert refusal is not None
    assert (refusal.peer.policy, refusal.enhanced) == (DANE, "4.7.5")
    hosts = {HOST: TlsaRecords(problem="SERVFAIL"), "mx2.receiver.example": TlsaRecords()}
    policy = TlsPolicy(DOMAIN, dane=DaneHosts.of(DOMAIN, hosts))
    assert policy.refusal(HOST)
    assert not policy.refusal("mx2.receiver.example")


def test_a_domain_without_records_has_no_dane() -> None:
    assert DaneHosts.of(DOMAIN, {HOST: TlsaRecords(), "mx2.receiver.example": TlsaRecords()}) is (
        None
    )


def test_a_connection_meets_only_the_records_that_it_was_opened_for() -> None:
    requirement = policy_with(LEAF).requirement(HOST)
    peer = ReceivingServer(HOST, tls="TLSv1.3", verified=True)
    assert not requirement.is_met(peer)
    assert requirement.is_met(ReceivingServer(HOST, tls="TLSv1.3", matched=((LEAF,), ())))
    assert not requirement.is_met(ReceivingServer(HOST, tls="TLSv1.3", matched=((ANCHOR,), ())))
    assert not requirement.is_met(ReceivingServer(HOST, tls="TLSv1.1", matched=((LEAF,), ())))
    assert not requirement.is_met(ReceivingServer(HOST, matched=((LEAF,), ())))


async def test_a_name_that_dns_cannot_have_is_no_error() -> None:
    source = DaneClient(validating_resolver(["127.0.0.1:1"]))
    found, _ = await source.look_up(f"{'a' * 64}.example")
    assert found is not None
    assert "cannot be validated" in found.problem
    await source.close()


async def answer_over_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one query with an MX record that DNSSEC proves; all others with nothing."""
    [size] = struct.unpack("!H", await reader.readexactly(2))
    query = dns.message.from_wire(await reader.readexactly(size))
    assert query.ednsflags & dns.flags.DO
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AD | dns.flags.AA
    [question] = query.question
    texts = {"MX": f"10 {HOST}.", "TLSA": f"3 1 1 {'61' * 32}"}
    kind = question.rdtype.name
    if kind in texts:
        rrset = dns.rrset.from_text(question.name, 300, "IN", question.rdtype, texts[kind])
        response.answer.append(rrset)
    wire = response.to_wire()
    writer.write(struct.pack("!H", len(wire)) + wire)
    await writer.drain()
    writer.close()


@pytest.mark.parametrize(("name", "is_proven"), [("dns.example", True), ("other.example", False)])
async def test_answers_over_tls_count_if_the_certificate_is_for_the_resolver(
    name: str, is_proven: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root.pem"
    root.write_bytes(ROOT.certificate.public_bytes(Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    monkeypatch.setattr("services.delivery.clients.dane.TIMEOUT_S", 3.0)
    context: ssl.SSLContext = ROOT.server("dns.example").context()
    server = await asyncio.start_server(answer_over_tls, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        source = DaneClient(validating_resolver([f"tls://127.0.0.1:{port}#{name}"]))
        found, _ = await source.look_up(DOMAIN)
        await source.close()
    assert found is not None
    assert bool(found.problem) == (not is_proven)
    if is_proven:
        assert found.requirements[HOST] is not None


class ProvenZone:
    """A resolver that proves each answer. zone: records by type. ttls: of them, if not 300."""

    def __init__(self, zone: dict[str, list[str]], ttls: dict[str, int] | None = None) -> None:
        self.zone = zone
        self.ttls = ttls or {}

    async def resolve(self, name: dns.name.Name, kind: str, **_: object) -> dns.resolver.Answer:
        response = dns.message.make_response(dns.message.make_query(name, kind))
        response.flags |= dns.flags.AD
        if self.zone.get(kind):
            ttl = self.ttls.get(kind, 300)
            response.answer.append(dns.rrset.from_text(name, ttl, "IN", kind, *self.zone[kind]))
        read = dns.message.from_wire(response.to_wire())
        assert isinstance(read, dns.message.QueryMessage)
        [question] = read.question
        return dns.resolver.Answer(name, question.rdtype, question.rdclass, read)


@pytest.mark.parametrize(("count", "is_refused"), [(20, False), (21, True)])
async def test_a_host_with_too_many_records_has_a_problem(count: int, is_refused: bool) -> None:
    records = [f"2 0 1 {n:064x}" for n in range(count)]
    zone = ProvenZone({"MX": [f"10 {HOST}."], "A": ["192.0.2.1"], "TLSA": records})
    source = DaneClient(zone)  # type: ignore[arg-type]
    found, _ = await source.look_up(DOMAIN)
    await source.close()
    assert found is not None
    assert (TlsPolicy(DOMAIN, dane=found).refusal(HOST) is not None) == is_refused


async def test_the_most_preferred_hosts_are_looked_up() -> None:
    backups = [f"{20 + n} backup{n}.receiver.example." for n in range(12)]
    records = [*backups, f"5 {HOST}.", f"10 {HOST}."]
    zone = ProvenZone({"MX": records, "A": ["192.0.2.1"], "TLSA": [f"2 0 1 {1:064x}"]})
    source = DaneClient(zone)  # type: ignore[arg-type]
    found, _ = await source.look_up(DOMAIN)
    await source.close()
    assert found is not None
    assert set(found.hosts) == {HOST, *(f"backup{n}.receiver.example" for n in range(9))}


ZONE = {
    "MX": [f"10 {HOST}."],
    "A": ["192.0.2.1"],
    "AAAA": ["2001:db8::1"],
    "TLSA": [f"3 1 1 {1:064x}"],
}


async def test_what_is_known_of_hosts_is_relied_on_no_longer_than_for_the_shortest_ttl(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s[0])
    zone = ProvenZone(ZONE, ttls={"MX": 3600, "TLSA": 60})
    source = DaneClient(zone)  # type: ignore[arg-type]
    assert (await source.look_up(DOMAIN))[1] == 60.0
    now_s[0] += 45.0  # another domain with the same host
    assert (await source.look_up("another.example"))[1] == 15.0
    await source.close()


async def test_both_kinds_of_addresses_are_looked_up_at_once() -> None:
    class Paired(ProvenZone):
        both = asyncio.Barrier(2)

        async def resolve(self, name: dns.name.Name, kind: str, **_: object) -> dns.resolver.Answer:
            if kind in {"A", "AAAA"}:
                await self.both.wait()
            return await super().resolve(name, kind)

    source = DaneClient(Paired(ZONE))  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        found, _ = await source.look_up(DOMAIN)
    await source.close()
    assert found is not None
    assert not found.hosts[HOST].problem


@pytest.mark.parametrize("silent", ["A", "AAAA", "TLSA"])
async def test_a_host_has_one_timeout_for_all_its_records(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(ProvenZone):
        async def resolve(self, name: dns.name.Name, kind: str, **_: object) -> dns.resolver.Answer:
            if kind == silent:
                await asyncio.Event().wait()
            return await super().resolve(name, kind)

    monkeypatch.setattr("services.delivery.clients.dane.TIMEOUT_S", 0.05)
    source = DaneClient(Silent(ZONE))  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        found, ttl_s = await source.look_up(DOMAIN)
    await source.close()
    assert found is not None
    assert "no answer within 0.05 s" in found.hosts[HOST].problem
    assert ttl_s <= FAILED_TTL_S
