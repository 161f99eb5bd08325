"""Mail to domains with DANE: no clear text, and no server that the records do not authenticate.

One service sends to all servers of the table at once; each row is a test.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from hashlib import sha256

import pytest

from contracts.delivery.v1 import events_pb2 as events
from contracts.router.v1.events_pb2 import DeliveryAssigned
from tests.support.authority import DAY, Certified
from tests.support.delivery import Harness
from tests.support.name_server import SERVFAIL
from tests.support.policy_server import policy_text, response
from tests.support.protected_domains import ROOT, Records, reported_failures, world_of
from tests.support.smtp_peer import Act, Acts, SmtpPeer
from tests.support.stack import harness_fixture

DELIVERED, TEMPORARY = events.ATTEMPT_OUTCOME_DELIVERED, events.ATTEMPT_OUTCOME_TEMPORARY
CLOSE = Act(b"220 Go", close=True)
STRANGER = Certified.root("stranger")
# Its certificate is for another name, has expired, and nobody trusts its authority: with usage 3
# none of that matters.
ODD = STRANGER.server("elsewhere.example", since=-3 * DAY, until=-DAY)
BETWEEN = STRANGER.authority("between")
ELSEWHERE = BETWEEN.server("elsewhere.example")


def tlsa(usage: int, certified: Certified) -> str:
    """A record of the certificate itself."""
    return f"{usage} 0 1 {sha256(certified.der).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Case:
    """tlsa: the records of its host, or SERVFAIL. server: its certificate by its name; None without
    TLS. insecure: names whose answers DNSSEC does not prove; `MX` is the host, in all texts.
    policy: of MTA-STS."""

    tlsa: list[str] | str = field(default_factory=lambda: [tlsa(3, ODD)])
    server: Callable[[str], Certified] | None = lambda _: ODD
    insecure: str = ""
    mx: list[str] | str = field(default_factory=lambda: ["10 MX."])
    acts: Acts = field(default_factory=dict)
    policy: bytes | None = None
    enforced: bool = False
    protected_by: str = "dane"
    refused: str = ""  # text of the reply; empty: delivered
    code: str = "4.7.5"


def refused(text: str, **more: object) -> Case:
    return Case(refused=text, **more)  # type: ignore[arg-type]


def without_dane(**more: object) -> Case:
    return Case(server=None, protected_by="none", **more)  # type: ignore[arg-type]


CASES = {
    "has_its_record": Case(),
    "has_its_record_among_others": Case([tlsa(3, ROOT), "3 9 9 ab", tlsa(3, ODD)]),
    "has_an_authority_and_its_name": Case([tlsa(2, BETWEEN)], BETWEEN.server),
    "has_an_authority_and_another_name": refused(
        "does not match", tlsa=[tlsa(2, BETWEEN)], server=lambda _: ELSEWHERE
    ),
    "has_another_certificate": refused("does not match", tlsa=[tlsa(3, ROOT)]),
    "offers_no_starttls": refused("does not offer STARTTLS", server=None, code="4.7.4"),
    "closes_in_the_handshake": refused("Connection lost", acts={"starttls": CLOSE}),
    "injects_a_reply_before_tls": Case(acts={"starttls": b"220 Go\r\n250 injected\r\n"}),
    "has_unusable_records_only": Case([tlsa(0, ODD)]),
    "has_unusable_records_and_no_tls": refused(
        "does not offer STARTTLS", tlsa=[tlsa(1, ODD)], server=None, code="4.7.4"
    ),
    # answers that cannot be trusted
    "has_bogus_records": refused("cannot be validated", tlsa=SERVFAIL),
    "has_a_bogus_mx": refused("MX records of", mx=SERVFAIL),
    "is_not_the_proven_host": refused("does not prove", mx=["10 mx2.DOMAIN."]),
    # answers that DNSSEC does not protect, so that there is no DANE
    "has_an_insecure_mx": without_dane(insecure="DOMAIN"),
    "has_an_insecure_address": without_dane(insecure="MX"),
    "has_insecure_records": without_dane(insecure="_25._tcp.MX"),
    "has_no_records": without_dane(tlsa=[]),
    # beside other policies
    "is_not_in_the_mta_sts_policy": Case(policy=policy_text("mx.elsewhere.example")),
    "has_unusable_records_and_mta_sts": refused(
        "the certificate of", tlsa=[tlsa(0, ODD)], policy=policy_text("*.DOMAIN"),
        protected_by="mta-sts",
    ),
    "is_authenticated_for_the_sender": Case(enforced=True),
    "has_unusable_records_for_the_sender": refused(
        "the certificate of", tlsa=[tlsa(0, ODD)], enforced=True, protected_by="enforced"
    ),
}  # fmt: skip

REPORTED = {
    "has_an_authority_and_another_name": "validation-failure",
    "has_another_certificate": "validation-failure",
    "offers_no_starttls": "starttls-not-supported",
    "closes_in_the_handshake": "validation-failure",
    "has_unusable_records_and_no_tls": "starttls-not-supported",
    "has_bogus_records": "dnssec-invalid",
    "is_not_the_proven_host": "dnssec-invalid",
}


harness = harness_fixture(Harness, scope="module")


def domain_of(case: str) -> str:
    return f"{case.replace('_', '-')}.example"


def filled(text: str, domain: str) -> str:
    return text.replace("MX", f"mx.{domain}").replace("DOMAIN", domain)


def records_of(case: Case, domain: str) -> Records:
    mx = case.mx if isinstance(case.mx, str) else [filled(one, domain) for one in case.mx]
    other: Records = {f"_25._tcp.mx2.{domain}": {"TLSA": [tlsa(3, ODD)]}}
    return {domain: {"MX": mx}, f"_25._tcp.mx.{domain}": {"TLSA": case.tlsa}, **other}


@dataclass(frozen=True, slots=True)
class CaseResult:
    result: events.DeliveryAttempted
    peer: SmtpPeer


@pytest.fixture(scope="module")
def case_results(harness: Harness) -> dict[str, CaseResult]:
    """The results of all cases, by name."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        return asyncio.run(run_all(harness, monkeypatch))


async def run_all(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> dict[str, CaseResult]:
    domains = {name: domain_of(name) for name in CASES}
    records: Records = {}
    responses: dict[str, bytes | None] = {}
    for name, case in CASES.items():
        records |= records_of(case, domains[name])
        if case.policy is not None:
            text = case.policy.replace(b"DOMAIN", domains[name].encode())
            responses[domains[name]] = response(text)
    insecure = {filled(case.insecure, domains[name]) for name, case in CASES.items()}
    async with (
        world_of(
            harness, list(domains.values()), responses=responses, monkeypatch=monkeypatch,
            more=records, insecure=insecure, tls_report_from="tls@sender.example",
        ) as world,
        AsyncExitStack() as stack,
    ):  # fmt: skip
        batch: list[DeliveryAssigned] = []
        peers = {}
        for name, case in CASES.items():
            tls = case.server(f"mx.{domains[name]}").context() if case.server else None
            peers[name] = await stack.enter_async_context(SmtpPeer(case.acts, tls=tls))
            batch += await world.assign(domains[name], peers[name], tls_enforced=case.enforced)
        await world.running.topics.publish(batch)
        results = {one.message_id: one for one in await world.running.topics.results(batch)}
        return {
            name: CaseResult(results[one.message_id], peers[name])
            for name, one in zip(CASES, batch, strict=True)
        }


def test_the_report_to_the_domain_has_the_reason_of_each_refusal(
    harness: Harness, case_results: dict[str, CaseResult]
) -> None:
    assert len(case_results) == len(CASES)
    found = reported_failures(harness)
    assert {name: found.get(domain_of(name)) for name in REPORTED} == REPORTED
    accepted = {name for name, one in CASES.items() if not one.refused}
    assert not {domain_of(name) for name in accepted} & found.keys()


@pytest.mark.parametrize("name", CASES)
def test_a_server_that(name: str, case_results: dict[str, CaseResult]) -> None:
    case, result, peer = CASES[name], case_results[name].result, case_results[name].peer
    reply = result.reply
    assert reply.tls_policy == case.protected_by
    assert result.outcome == (TEMPORARY if case.refused else DELIVERED)
    assert len(peer.messages) == (not case.refused)
    if case.refused:
        assert (reply.step, reply.enhanced) == ("starttls", case.code)
        assert case.refused in reply.text
        assert not any(one.startswith(("MAIL", "RCPT", "DATA")) for one in peer.commands)
    elif case.protected_by == "dane":
        assert reply.tls.startswith("TLSv1.")


@pytest.mark.parametrize("name", ["has_bogus_records", "has_a_bogus_mx", "is_not_the_proven_host"])
def test_a_host_that_is_not_proven_is_not_dialed(
    name: str, case_results: dict[str, CaseResult]
) -> None:
    assert case_results[name].peer.connections == []
