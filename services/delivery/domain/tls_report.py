"""What a session contributes to the TLS report of its domain: RFC 8460 §4."""

from typing import NamedTuple

from mail.mta_sts import MtaStsMode
from mail.tls_chain import ChainFault
from mail.tls_rpt import AppliedPolicy, FailedSession, PolicyKind, ResultType
from services.delivery.domain.attempt_result import DANE, STARTTLS, AttemptResult, ReceivingServer
from services.delivery.domain.tls_policy import NOT_OFFERED, VERIFIED_BY_MTA_STS, TlsPolicy

FAULTS = {
    ChainFault.EXPIRED: ResultType.CERTIFICATE_EXPIRED,
    ChainFault.WRONG_NAME: ResultType.CERTIFICATE_HOST_MISMATCH,
    ChainFault.UNTRUSTED: ResultType.CERTIFICATE_NOT_TRUSTED,
}
UNLISTED = "mx-not-listed"  # a failure-reason-code


class CountedSession(NamedTuple):
    """One session under a policy. failure: None if it had what the policy asks for."""

    policy: AppliedPolicy
    failure: FailedSession | None


def opened_session(policy: TlsPolicy, peer: ReceivingServer) -> CountedSession | None:
    """The result of a session that was opened; None if its domain has no policy to report on."""
    if (applied := applied_policy(policy, peer.mx)) is None:
        return None
    return CountedSession(applied, _failure(_fault_of(policy, peer), peer))


def failed_session(policy: TlsPolicy, result: AttemptResult) -> CountedSession | None:
    """The result of a session that failed for want of TLS, or of a host that was not dialed; None
    if it failed before, or its domain has no policy to report on."""
    peer = result.peer
    applied = applied_policy(policy, peer.mx) if result.step == STARTTLS else None
    if applied is None:
        return None
    if policy.refusal(peer.mx) is not None:
        by_dane = peer.policy == DANE
        kind = ResultType.DNSSEC_INVALID if by_dane else ResultType.VALIDATION_FAILURE
        return CountedSession(applied, _failure(kind, peer, "" if by_dane else UNLISTED))
    if peer.tls:
        return CountedSession(applied, _failure(_fault_of(policy, peer), peer))
    is_offered = result.enhanced != NOT_OFFERED
    missing = ResultType.STARTTLS_NOT_SUPPORTED
    kind = ResultType.VALIDATION_FAILURE if is_offered else missing
    return CountedSession(applied, _failure(kind, peer))


def applied_policy(policy: TlsPolicy, host: str) -> AppliedPolicy | None:
    """The policy that a session with a host is reported under (§4.4)."""
    if policy.dane is not None:
        records = policy.dane.records_of(host)
        if records or policy.refusal(host) is not None:
            lines = tuple(map(str, records))
            return AppliedPolicy(PolicyKind.TLSA, policy.domain, lines, (host,))
    sts = policy.mta_sts
    if sts is None or sts.mode is MtaStsMode.NONE:
        return None
    return AppliedPolicy(PolicyKind.STS, policy.domain, sts.lines(), sts.mx)


def fetch_failure(policy: TlsPolicy, kind: ResultType, why: str) -> CountedSession:
    """The result for a policy that could not be fetched. policy: that stays in force."""
    host = f"mta-sts.{policy.domain}"
    sts = policy.mta_sts
    lines, mx = (sts.lines(), sts.mx) if sts is not None else ((), ())
    applied = AppliedPolicy(PolicyKind.STS, policy.domain, lines, mx)
    return CountedSession(applied, FailedSession(kind, "", host, reason_code=why[:100]))


def _fault_of(policy: TlsPolicy, peer: ReceivingServer) -> ResultType | None:
    """What is wrong with an open session; None if nothing is."""
    if not peer.tls:
        return ResultType.STARTTLS_NOT_SUPPORTED
    required = policy.requirement(peer.mx)
    if required.policy == DANE:
        return None if required.is_met(peer) else ResultType.VALIDATION_FAILURE
    if policy.mta_sts is not None and not policy.mta_sts.allows(peer.mx):
        return ResultType.VALIDATION_FAILURE
    if VERIFIED_BY_MTA_STS.is_met(peer):
        return None
    return FAULTS[peer.fault] if peer.fault else ResultType.VALIDATION_FAILURE


def _failure(
    kind: ResultType | None, peer: ReceivingServer, reason: str = ""
) -> FailedSession | None:
    if kind is None:
        return None
    return FailedSession(kind, peer.local_ip, peer.mx, peer.remote_ip, reason)
