"""What sessions contribute to the TLS report of their domain."""

import pytest

from mail.mta_sts import MtaStsMode, MtaStsPolicy
from mail.smtp_reply import Reply
from mail.tls_chain import ChainFault
from mail.tls_rpt import PolicyKind, ResultType
from mail.tlsa import Tlsa
from services.delivery.domain.attempt_result import (
    CONNECT,
    DANE,
    MTA_STS,
    STARTTLS,
    AttemptResult,
    ReceivingServer,
)
from services.delivery.domain.tls_policy import (
    ENFORCED_ONLY,
    DaneHosts,
    TlsaRecords,
    TlsPolicy,
    starttls_missing,
)
from services.delivery.domain.tls_report import failed_session, fetch_failure, opened_session

HOST = "mx.receiver.example"
LEAF = Tlsa(3, 1, 1, b"l" * 32)
PEER = ReceivingServer(HOST, "192.0.2.1", "192.0.2.9", "TLSv1.3", verified=True)
STS = TlsPolicy("receiver.example", mta_sts=MtaStsPolicy(MtaStsMode.ENFORCE, (HOST,), 86_400))
TESTING = TlsPolicy("receiver.example", mta_sts=MtaStsPolicy(MtaStsMode.TESTING, (HOST,), 86_400))
BY_DANE = TlsPolicy(
    "receiver.example",
    mta_sts=STS.mta_sts,
    dane=DaneHosts.of("receiver.example", {HOST: TlsaRecords((LEAF,), (HOST,))}),
)


def unverified(fault: ChainFault) -> ReceivingServer:
    return ReceivingServer(HOST, "192.0.2.1", "192.0.2.9", "TLSv1.3", fault=fault)


@pytest.mark.parametrize(
    ("policy", "peer", "failure"),
    [
        (STS, PEER, None),
        (TESTING, PEER, None),
        (TESTING, ReceivingServer(HOST), ResultType.STARTTLS_NOT_SUPPORTED),
        (TESTING, unverified(ChainFault.EXPIRED), ResultType.CERTIFICATE_EXPIRED),
        (TESTING, unverified(ChainFault.WRONG_NAME), ResultType.CERTIFICATE_HOST_MISMATCH),
        (TESTING, unverified(ChainFault.UNTRUSTED), ResultType.CERTIFICATE_NOT_TRUSTED),
        (TESTING, ReceivingServer("mx2.example", tls="TLSv1.3"), ResultType.VALIDATION_FAILURE),
        (BY_DANE, ReceivingServer(HOST, tls="TLSv1.3", matched=((LEAF,), ())), None),
    ],
)
def test_an_open_session_succeeds_if_it_meets_the_policy(
    policy: TlsPolicy, peer: ReceivingServer, failure: ResultType | None
) -> None:
    found = opened_session(policy, peer)
    assert found is not None
    assert (found.failure.result if found.failure else None) == failure


def test_sessions_without_a_policy_of_the_domain_are_not_reported() -> None:
    none = TlsPolicy("receiver.example", mta_sts=MtaStsPolicy(MtaStsMode.NONE, (), 86_400))
    assert [opened_session(one, PEER) for one in (ENFORCED_ONLY, none)] == [None, None]


def test_a_session_that_failed_before_tls_is_not_reported() -> None:
    assert failed_session(STS, AttemptResult(CONNECT, problem="refused", peer=PEER)) is None


@pytest.mark.parametrize(
    ("result", "failure", "reason"),
    [
        (
            starttls_missing(ReceivingServer(HOST, policy=MTA_STS)),
            ResultType.STARTTLS_NOT_SUPPORTED,
            "",
        ),
        (
            AttemptResult(
                STARTTLS, problem="handshake", peer=ReceivingServer(HOST, policy=MTA_STS)
            ),
            ResultType.VALIDATION_FAILURE,
            "",
        ),
        (
            AttemptResult(STARTTLS, Reply(454, "4.7.0", "later"), peer=ReceivingServer(HOST)),
            ResultType.VALIDATION_FAILURE,
            "",
        ),
        (
            AttemptResult(STARTTLS, peer=unverified(ChainFault.EXPIRED)),
            ResultType.CERTIFICATE_EXPIRED,
            "",
        ),
        (STS.refusal("mx2.example"), ResultType.VALIDATION_FAILURE, "mx-not-listed"),
    ],
)
def test_a_failed_session_is_reported_with_its_reason(
    result: AttemptResult, failure: ResultType, reason: str
) -> None:
    found = failed_session(STS, result)
    assert found is not None
    assert found.policy.kind is PolicyKind.STS
    assert found.failure is not None
    assert (found.failure.result, found.failure.reason_code) == (failure, reason)


def test_a_session_under_dane_is_reported_with_its_records() -> None:
    refused = AttemptResult(STARTTLS, peer=ReceivingServer(HOST, tls="TLSv1.3", policy=DANE))
    found = failed_session(BY_DANE, refused)
    assert found is not None
    assert (found.policy.kind, found.policy.lines) == (PolicyKind.TLSA, (f"3 1 1 {'6c' * 32}",))
    assert found.failure is not None
    assert found.failure.result is ResultType.VALIDATION_FAILURE
    unproven = BY_DANE.refusal("mx.attacker.example")
    assert unproven is not None
    found = failed_session(BY_DANE, unproven)
    assert found is not None
    assert found.failure is not None
    assert found.failure.result is ResultType.DNSSEC_INVALID


def test_a_policy_that_could_not_be_fetched_is_reported() -> None:
    found = fetch_failure(TlsPolicy("a.example"), ResultType.STS_POLICY_FETCH_ERROR, "404 " * 99)
    assert found.policy.domain == "a.example"
    assert found.failure is not None
    assert found.failure.receiving_host == "mta-sts.a.example"
    assert len(found.failure.reason_code) <= 100
