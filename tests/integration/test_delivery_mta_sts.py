"""Mail under a TLS policy: never in clear text or to a wrong certificate; and what passes without.

One service sends to all servers of the table at once; each row is a test.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from contracts.delivery.v1 import events_pb2 as events
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import metrics
from services.delivery.clients import mta_sts as client
from tests.support.delivery import Harness
from tests.support.policy_server import policy_text, response
from tests.support.protected_domains import certificate_of, reported_failures, world_of
from tests.support.smtp_peer import Act, Acts, SmtpPeer
from tests.support.stack import harness_fixture

DELIVERED, TEMPORARY = events.ATTEMPT_OUTCOME_DELIVERED, events.ATTEMPT_OUTCOME_TEMPORARY
CLOSE = Act(b"220 Go", close=True)
LARGE = policy_text("mx.example.net") + b"x: " + b"y" * 70_000
JSON = "Content-Type: application/json\r\n"
MOVED = "Location: https://elsewhere.example/\r\n"


@dataclass(frozen=True, slots=True)
class Case:
    """policy: the text of the domain's policy, `MX` for its host; or a response of its policy host.
    certificate: of the server; None: it has no TLS. enforced: by the sender."""

    policy: bytes | None = None
    serves: bytes | None = b""
    certificate: str | None = "good"
    acts: Acts = field(default_factory=dict)
    enforced: bool = False
    protected_by: str = "opportunistic"
    refused: str = ""  # text of the reply; empty: delivered
    code: str = "4.7.5"


def enforce(**more: object) -> Case:
    return Case(policy_text("MX"), **{"protected_by": "mta-sts", **more})  # type: ignore[arg-type]


def enforced(**more: object) -> Case:
    return Case(enforced=True, protected_by="enforced", **more)  # type: ignore[arg-type]


OTHER_NAME = "is for another name"
CASES = {
    # MTA-STS in enforce mode
    "has_a_policy": enforce(),
    "is_not_in_the_policy": Case(
        policy_text("mx.elsewhere.example"), protected_by="mta-sts", refused="does not list"
    ),
    "has_an_expired_certificate": enforce(certificate="expired", refused="has expired"),
    "has_a_certificate_of_another": enforce(certificate="other", refused=OTHER_NAME),
    "has_an_unknown_authority": enforce(certificate="unknown", refused="a trusted authority"),
    "has_a_self_signed_certificate": enforce(
        certificate="self-signed", refused="a trusted authority"
    ),
    "offers_no_starttls": enforce(
        certificate=None, refused="does not offer STARTTLS", code="4.7.4"
    ),
    "closes_in_the_handshake": enforce(acts={"starttls": CLOSE}, refused="Connection lost"),
    "replies_454_to_starttls": enforce(
        acts={"starttls": b"454 4.7.0 Not now"}, refused="Not now", code="4.7.0"
    ),
    "injects_a_reply_before_tls": enforce(acts={"starttls": b"220 Go\r\n250 injected\r\n"}),
    "is_under_a_wildcard": Case(policy_text("*.SITE"), protected_by="mta-sts"),
    # a policy that does not forbid anything
    "has_a_policy_in_testing": Case(policy_text("MX", mode="testing"), certificate="other"),
    "has_a_policy_of_mode_none": Case(
        policy_text(mode="none"), certificate=None, protected_by="none"
    ),
    "has_no_policy": Case(certificate=None, protected_by="none"),
    "has_no_policy_but_tls": Case(certificate="unknown"),
    # a policy that cannot be had, and that was not cached
    "redirects_to_its_policy": Case(
        serves=response(b"", status="301 Moved", fields=MOVED), certificate="other"
    ),
    "has_lost_its_policy": Case(
        serves=response(b"", status="404 Not Found"), certificate=None, protected_by="none"
    ),
    "has_a_policy_of_another_type": Case(
        serves=response(policy_text("MX"), fields=JSON), certificate="other"
    ),
    "has_a_policy_that_is_too_long": Case(serves=response(LARGE), certificate="other"),
    "has_an_invalid_policy": Case(serves=response(b"mode: enforce\r\n"), certificate="other"),
    "never_sends_its_policy": Case(serves=None, certificate="other"),
    "has_a_policy_host_with_a_wrong_certificate": Case(
        policy_text("mx.elsewhere.example"), certificate="other"
    ),
    # required by the sender
    "is_verified_for_the_sender": enforced(),
    "is_not_verified_for_the_sender": enforced(certificate="other", refused=OTHER_NAME),
    "offers_no_tls_to_the_sender": enforced(
        certificate=None, refused="which the sender requires", code="4.7.4"
    ),
    "is_wanted_by_both": enforce(enforced=True),
}  # fmt: skip

REPORTED = {
    "is_not_in_the_policy": "validation-failure",
    "has_an_expired_certificate": "certificate-expired",
    "has_a_certificate_of_another": "certificate-host-mismatch",
    "has_an_unknown_authority": "certificate-not-trusted",
    "has_a_self_signed_certificate": "certificate-not-trusted",
    "offers_no_starttls": "starttls-not-supported",
    "closes_in_the_handshake": "validation-failure",
    "replies_454_to_starttls": "validation-failure",
    "has_a_policy_in_testing": "certificate-host-mismatch",
}


def name_of(case: str) -> str:
    return f"{case.replace('_', '-')}.example"


harness = harness_fixture(Harness, scope="module")


@dataclass(frozen=True, slots=True)
class CaseResult:
    result: events.DeliveryAttempted
    peer: SmtpPeer


@pytest.fixture(scope="module")
def case_results(harness: Harness) -> dict[str, CaseResult]:
    """The results of all cases, by name."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(client, "FETCH_TIMEOUT_S", 3.0)
        return asyncio.run(run_all(harness, monkeypatch))


async def run_all(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> dict[str, CaseResult]:
    responses: dict[str, bytes | None] = {}
    for name, case in CASES.items():
        domain = name_of(name)
        if case.policy is not None:
            text = case.policy.replace(b"MX", f"mx.{domain}".encode())
            responses[domain] = response(text.replace(b"SITE", domain.encode()))
        elif case.serves != b"":
            responses[domain] = case.serves
    domains = list(map(name_of, CASES))
    wrong = [name_of("has_a_policy_host_with_a_wrong_certificate")]
    async with (
        world_of(
            harness,
            domains,
            responses=responses,
            monkeypatch=monkeypatch,
            wrong=wrong,
            tls_report_from="tls@sender.example",
        ) as world,
        AsyncExitStack() as stack,
    ):
        peers = {name: await stack.enter_async_context(peer_of(name)) for name in CASES}
        batch: list[DeliveryAssigned] = []
        for name, case in CASES.items():
            batch += await world.assign(name_of(name), peers[name], tls_enforced=case.enforced)
        await world.running.topics.publish(batch)
        results = {one.message_id: one for one in await world.running.topics.results(batch)}
        return {
            name: CaseResult(results[one.message_id], peers[name])
            for name, one in zip(CASES, batch, strict=True)
        }


def peer_of(name: str) -> SmtpPeer:
    case = CASES[name]
    if case.certificate is None:
        return SmtpPeer(case.acts)
    tls = certificate_of(case.certificate, f"mx.{name_of(name)}").context()
    return SmtpPeer(case.acts, tls=tls)


def test_the_report_to_the_domain_has_the_reason_of_each_refusal(
    harness: Harness, case_results: dict[str, CaseResult]
) -> None:
    assert len(case_results) == len(CASES)
    found = reported_failures(harness)
    assert {name: found.get(name_of(name)) for name in REPORTED} == REPORTED
    under_policy = {name for name, one in CASES.items() if one.protected_by == "mta-sts"}
    assert {name for name in under_policy if CASES[name].refused} <= REPORTED.keys()
    assert not {name_of(name) for name in under_policy - REPORTED.keys()} & found.keys()


@pytest.mark.parametrize("name", CASES)
def test_a_server_that(name: str, case_results: dict[str, CaseResult]) -> None:
    case, result, peer = CASES[name], case_results[name].result, case_results[name].peer
    reply = result.reply
    assert reply.tls_policy == case.protected_by
    assert result.outcome == (TEMPORARY if case.refused else DELIVERED)
    assert len(peer.messages) == (not case.refused)
    assert bool(reply.tls) == (case.certificate is not None and reply.step != "starttls") or (
        case.refused
    )
    if case.refused:
        assert (reply.step, reply.enhanced) == ("starttls", case.code)
        assert case.refused in reply.text
        assert not any(one.startswith(("MAIL", "RCPT", "DATA")) for one in peer.commands)
    if case.protected_by in {"mta-sts", "enforced"} and not case.refused:
        assert reply.tls_verified


def test_a_host_that_is_not_in_the_policy_is_not_dialed(
    case_results: dict[str, CaseResult],
) -> None:
    found = case_results["is_not_in_the_policy"]
    assert found.peer.connections == []
    assert not found.result.connected


def test_no_second_connection_in_clear_text_follows_broken_tls(
    case_results: dict[str, CaseResult],
) -> None:
    assert len(case_results["closes_in_the_handshake"].peer.connections) == 1


@pytest.mark.parametrize("policy", ["mta-sts", "enforced"])
def test_attempts_without_the_required_tls_are_counted(
    policy: str, case_results: dict[str, CaseResult]
) -> None:
    refused = [one for one in CASES.values() if one.refused and one.protected_by == policy]
    counted = metrics.registry.get_sample_value("obm_tls_refusals_total", {"policy": policy})
    assert counted is not None
    assert counted >= len(refused) > 0
