"""What a connection must have for a message: DANE (RFC 7672), MTA-STS (RFC 8461), the sender's
demand, or nothing.

Connections are shared by all domains of a site. So a policy does not belong to a connection: each
message takes only connections that meet its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mail import tlsa
from mail.mta_sts import MtaStsMode, MtaStsPolicy
from mail.tls_chain import ChainFault
from mail.tlsa import Tlsa
from services.delivery.domain.attempt_result import (
    DANE,
    ENFORCED,
    MTA_STS,
    STARTTLS,
    AttemptResult,
    ReceivingServer,
)

NOT_OFFERED = "4.7.4"  # enhanced status codes of RFC 3463: security features not supported
NOT_AUTHENTICATED = "4.7.5"  # cryptographic failure
OBJECT_OCTETS = 200  # in memory, besides its bytes
SECURE_VERSIONS = frozenset(("TLSv1.2", "TLSv1.3"))  # RFC 8996


@dataclass(frozen=True, slots=True)
class TlsRequirement:
    """What a connection to a host must have. policy: which requires it; empty: TLS is
    opportunistic, and clear text is allowed. verified: a certificate that is valid for the host.
    tlsa: records, of which one must match. names: that a certificate under a trust anchor of these
    can have."""

    policy: str = ""
    verified: bool = False
    tlsa: tuple[Tlsa, ...] = ()
    names: tuple[str, ...] = ()

    def is_met(self, peer: ReceivingServer) -> bool:
        """Whether a connection to the server has it."""
        if not self.policy:
            return True
        is_authentic = peer.matched == (self.tlsa, self.names) if self.tlsa else True
        return peer.tls in SECURE_VERSIONS and is_authentic and (peer.verified or not self.verified)


OPPORTUNISTIC_TLS, ENCRYPTED = TlsRequirement(), TlsRequirement(DANE)
VERIFIED = {name: TlsRequirement(name, verified=True) for name in (MTA_STS, ENFORCED)}
VERIFIED_BY_MTA_STS = VERIFIED[MTA_STS]
# As in "does not offer STARTTLS, which … requires".
NAMES = {
    MTA_STS: "its domain's MTA-STS policy",
    DANE: "its TLSA record",
    ENFORCED: "the sender",
}
FAULTS = {
    ChainFault.EXPIRED: "the certificate of {} has expired, or is not valid yet",
    ChainFault.WRONG_NAME: "the certificate of {} is for another name",
    ChainFault.UNTRUSTED: "the certificate of {} is not signed by a trusted authority",
}


@dataclass(frozen=True, slots=True)
class TlsaRecords:
    """The TLSA records of a host; empty if it has none, or DNSSEC does not protect it. names: of
    the host, after and before following aliases. problem: why the records are unknown."""

    records: tuple[Tlsa, ...] = ()
    names: tuple[str, ...] = ()
    problem: str = ""

    @property
    def octets(self) -> int:
        """About what it takes in memory."""
        return OBJECT_OCTETS + sum(OBJECT_OCTETS + len(one.data) for one in self.records)

    def requirement(self, domain: str) -> TlsRequirement | None:
        """What its records require; None: nothing. If none is usable, TLS without authentication
        (RFC 7672 §2.2)."""
        if not self.records:
            return None
        usable = tuple(tlsa.usable_records(self.records))
        if not usable:
            return ENCRYPTED
        anchored = any(one.usage == tlsa.TRUST_ANCHOR for one in usable)
        return TlsRequirement(DANE, tlsa=usable, names=(*self.names, domain) if anchored else ())


@dataclass(frozen=True, slots=True)
class DaneHosts:
    """The MX hosts of a domain that DNSSEC proves, at least one of them with TLSA records.
    requirements: of each host; None without records. problem: why the hosts are unknown."""

    hosts: Mapping[str, TlsaRecords] = field(default_factory=dict)
    requirements: Mapping[str, TlsRequirement | None] = field(default_factory=dict)
    problem: str = ""

    @classmethod
    def of(cls, domain: str, hosts: Mapping[str, TlsaRecords]) -> "DaneHosts | None":
        """None if no host has TLSA records, for certain."""
        if not any(one.records or one.problem for one in hosts.values()):
            return None
        return cls(hosts, {name: one.requirement(domain) for name, one in hosts.items()})

    def records_of(self, host: str) -> tuple[Tlsa, ...]:
        found = self.hosts.get(_normal(host))
        return found.records if found is not None else ()

    def requirement_of(self, host: str) -> TlsRequirement | None:
        return self.requirements.get(_normal(host))

    def problem_of(self, domain: str, host: str) -> str:
        """Why a host cannot be used; empty if it can."""
        name = _normal(host)
        if self.problem or name in self.hosts:
            return self.problem or self.hosts[name].problem
        return f"DNSSEC does not prove that {name} is an MX host of {domain}"


def _normal(host: str) -> str:
    return host.lower().rstrip(".")


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """The policy for messages to a domain. enforced: the sender requires verified TLS. mta_sts: the
    domain's policy, None if it has none. dane: its hosts, None if it has no DANE."""

    domain: str = ""
    enforced: bool = False
    mta_sts: MtaStsPolicy | None = None
    dane: DaneHosts | None = None

    @property
    def octets(self) -> int:
        """About what it takes in memory."""
        patterns = self.mta_sts.mx if self.mta_sts is not None else ()
        hosts = self.dane.hosts.values() if self.dane is not None else ()
        by_pattern = sum(OBJECT_OCTETS + len(pattern) for pattern in patterns)
        return OBJECT_OCTETS + by_pattern + sum(one.octets for one in hosts)

    def requirement(self, host: str) -> TlsRequirement:
        """What a connection to this MX host must have. Records that authenticate the host take
        precedence (RFC 8461 §2)."""
        by_dane = self.dane.requirement_of(host) if self.dane is not None else None
        if by_dane is not None and by_dane.tlsa:
            return by_dane
        if self._enforces_mta_sts:
            return VERIFIED[MTA_STS]
        return VERIFIED[ENFORCED] if self.enforced else by_dane or OPPORTUNISTIC_TLS

    def refusal(self, host: str) -> AttemptResult | None:
        """The result of an attempt at a host that the policy does not allow at all."""
        if self.dane is not None and (problem := self.dane.problem_of(self.domain, host)):
            return _refusal(DANE, host, problem)
        if not self._enforces_mta_sts or self.mta_sts is None or self.mta_sts.allows(host):
            return None
        if self.requirement(host).tlsa:
            return None
        return _refusal(MTA_STS, host, f"the MTA-STS policy of {self.domain} does not list {host}")

    def label(self, result: AttemptResult) -> AttemptResult:
        """The result with the name of the policy that applied to its host."""
        if not result.peer.mx or result.is_policy_failure:
            return result
        policy = self.requirement(result.peer.mx).policy
        return replace(result, peer=replace(result.peer, policy=policy))

    @property
    def _enforces_mta_sts(self) -> bool:
        return self.mta_sts is not None and self.mta_sts.mode is MtaStsMode.ENFORCE


NO_POLICY = TlsPolicy()
ENFORCED_ONLY = TlsPolicy(enforced=True)


def _refusal(policy: str, host: str, problem: str) -> AttemptResult:
    return _failure(problem, ReceivingServer(mx=host, policy=policy))


def starttls_missing(peer: ReceivingServer) -> AttemptResult:
    """The result of an attempt at a server without STARTTLS. peer: with the policy that requires
    it, as below."""
    problem = f"{peer.mx} does not offer STARTTLS, which {NAMES[peer.policy]} requires"
    return _failure(problem, peer, NOT_OFFERED)


def handshake_failed(problem: str, peer: ReceivingServer) -> AttemptResult:
    """The result of an attempt at a server whose TLS does not work."""
    problem = f"TLS with {peer.mx} failed ({problem}); {NAMES[peer.policy]} requires it"
    return _failure(problem, peer)


def not_authenticated(peer: ReceivingServer, *, by_records: bool) -> AttemptResult:
    """The result of an attempt at a server without the certificate that the policy requires.
    by_records: one that matches TLSA records."""
    if by_records:
        return _failure(f"the certificate of {peer.mx} does not match its TLSA records", peer)
    fault = FAULTS[peer.fault or ChainFault.UNTRUSTED].format(peer.mx)
    return _failure(f"{fault}; {NAMES[peer.policy]} requires a valid one", peer)


def _failure(
    problem: str, peer: ReceivingServer, enhanced: str = NOT_AUTHENTICATED
) -> AttemptResult:
    return AttemptResult(STARTTLS, problem=problem, enhanced=enhanced, peer=peer)
