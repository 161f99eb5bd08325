"""What a connection must have for a message: MTA-STS (RFC 8461), the sender's demand, or nothing.

Connections are shared by all domains of a site. So a policy does not belong to a connection: each
message takes only connections that meet its own.
"""

from dataclasses import dataclass, replace

from mail.mta_sts import Mode, Policy
from mail.tls_chain import ChainFault
from services.delivery.domain.attempt_result import (
    ENFORCED,
    MTA_STS,
    STARTTLS,
    AttemptResult,
    RemoteServer,
)

NOT_OFFERED = "4.7.4"  # enhanced status codes of RFC 3463: security features not supported
NOT_AUTHENTICATED = "4.7.5"  # cryptographic failure


SECURE_VERSIONS = frozenset(("TLSv1.2", "TLSv1.3"))  # RFC 8996


@dataclass(frozen=True, slots=True)
class TlsRequirement:
    """What a connection to a host must have. policy: which requires it; empty: TLS is
    opportunistic, and clear text is allowed. verified: a certificate that is valid for the host."""

    policy: str = ""
    verified: bool = False

    def is_met(self, peer: RemoteServer) -> bool:
        """Whether a connection to the server has it."""
        if not self.policy:
            return True
        return peer.tls in SECURE_VERSIONS and (peer.verified or not self.verified)


OPPORTUNISTIC_TLS = TlsRequirement()
# As in "does not offer STARTTLS, which … requires".
NAMES = {MTA_STS: "its domain's MTA-STS policy", ENFORCED: "the sender"}
FAULTS = {
    ChainFault.EXPIRED: "the certificate of {} has expired, or is not valid yet",
    ChainFault.WRONG_NAME: "the certificate of {} is for another name",
    ChainFault.UNTRUSTED: "the certificate of {} is not signed by a trusted authority",
}
VERIFIED = {name: TlsRequirement(name, verified=True) for name in (MTA_STS, ENFORCED)}


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """The policy for messages to a domain. enforced: the sender requires verified TLS. mta_sts: the
    domain's policy, None if it has none."""

    domain: str = ""
    enforced: bool = False
    mta_sts: Policy | None = None

    def requirement(self, host: str) -> TlsRequirement:
        """What a connection to this MX host must have."""
        if self._enforces_mta_sts:
            return VERIFIED[MTA_STS]
        return VERIFIED[ENFORCED] if self.enforced else OPPORTUNISTIC_TLS

    def refusal(self, host: str) -> AttemptResult | None:
        """The result of an attempt at a host that the policy does not allow at all."""
        if not self._enforces_mta_sts or self.mta_sts is None or self.mta_sts.allows(host):
            return None
        problem = f"the MTA-STS policy of {self.domain} does not list {host}"
        peer = RemoteServer(mx=host, policy=MTA_STS)
        return AttemptResult(STARTTLS, problem=problem, enhanced=NOT_AUTHENTICATED, peer=peer)

    def label(self, result: AttemptResult) -> AttemptResult:
        """The result with the name of the policy that applied to its host."""
        if not result.peer.mx:
            return result
        policy = self.requirement(result.peer.mx).policy
        return replace(result, peer=replace(result.peer, policy=policy))

    @property
    def _enforces_mta_sts(self) -> bool:
        return self.mta_sts is not None and self.mta_sts.mode is Mode.ENFORCE


NO_POLICY = TlsPolicy()
ENFORCED_ONLY = TlsPolicy(enforced=True)


def starttls_missing(host: str, requirement: TlsRequirement, peer: RemoteServer) -> AttemptResult:
    """The result of an attempt at a server without STARTTLS."""
    problem = f"{host} does not offer STARTTLS, which {NAMES[requirement.policy]} requires"
    return AttemptResult(STARTTLS, problem=problem, enhanced=NOT_OFFERED, peer=peer)


def handshake_failed(
    problem: str, host: str, *, requirement: TlsRequirement, peer: RemoteServer
) -> AttemptResult:
    """The result of an attempt at a server whose TLS does not work."""
    problem = f"TLS with {host} failed ({problem}); {NAMES[requirement.policy]} requires it"
    return AttemptResult(STARTTLS, problem=problem, enhanced=NOT_AUTHENTICATED, peer=peer)


def not_authenticated(
    fault: ChainFault, host: str, *, requirement: TlsRequirement, peer: RemoteServer
) -> AttemptResult:
    """The result of an attempt at a server without a valid certificate."""
    problem = f"{FAULTS[fault].format(host)}; {NAMES[requirement.policy]} requires a valid one"
    return AttemptResult(STARTTLS, problem=problem, enhanced=NOT_AUTHENTICATED, peer=peer)
