"""Self-checks of egress sources: what receiving servers look up about them before they take mail.

Each failed check is a named problem with a sentence that says what to do. A check without an answer
changes nothing: the earlier result stays.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import NamedTuple

from services.router.domain.egress import EgressSource
from services.router.domain.ledger import LimitScope, ScopeKind, Suspension
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.reasons import WaitReason

Names = Sequence[str] | None  # found in DNS; None: the lookup failed


class SelfCheckKind(StrEnum):
    """ptr: reverse DNS. forward: the EHLO name. spf: the record that customers include.
    egress_host: the machine that owns the address."""

    PTR = "ptr"
    FORWARD = "forward"
    SPF = "spf"
    EGRESS_HOST = "egress_host"


class SelfCheckFinding(NamedTuple):
    """Of one check of one address. problem: its name; empty if there is none."""

    check: SelfCheckKind
    address: str
    problem: str = ""
    advice: str = ""


class SourceChecked(NamedTuple):
    """problems: all that are known now. passed_s: when the source first had none; 0: never."""

    egress_id: str
    at_s: float
    problems: tuple[SelfCheckFinding, ...] = ()
    passed_s: float = 0.0


class SelfCheckResult(NamedTuple):
    """What a check has found. addresses: of the source. is_complete: every lookup was answered."""

    egress_id: str
    at_s: float
    addresses: tuple[str, ...]
    findings: tuple[SelfCheckFinding, ...]
    is_complete: bool


def check_ptr(address: str, ehlo: str, found: Names) -> SelfCheckFinding | None:
    """The reverse DNS of the address must be the EHLO name."""
    if found is None:
        return None
    names = [normalize(one) for one in found]
    if not names:
        advice = f"Publish a PTR record for {address}: {ehlo}. The owner of the network does it."
        return SelfCheckFinding(SelfCheckKind.PTR, address, "ptr_missing", advice)
    if normalize(ehlo) not in names:
        advice = (
            f"The PTR record of {address} is {names[0]}. Change it to {ehlo}, or use"
            f" {names[0]} as the EHLO name."
        )
        return SelfCheckFinding(SelfCheckKind.PTR, address, "ptr_mismatch", advice)
    return SelfCheckFinding(SelfCheckKind.PTR, address)


def check_forward(address: str, ehlo: str, found: Names) -> SelfCheckFinding | None:
    """The EHLO name must resolve to the address."""
    if found is None:
        return None
    kind = "AAAA" if ":" in address else "A"
    if not found:
        advice = f"Publish an {kind} record for {ehlo}: {address}."
        return SelfCheckFinding(SelfCheckKind.FORWARD, address, "forward_missing", advice)
    if address not in found:
        advice = f"{ehlo} resolves to {found[0]}. Publish an {kind} record: {address}."
        return SelfCheckFinding(SelfCheckKind.FORWARD, address, "forward_mismatch", advice)
    return SelfCheckFinding(SelfCheckKind.FORWARD, address)


def check_spf(address: str, domain: str, result: str) -> SelfCheckFinding | None:
    """result: of RFC 7208 for the domain."""
    kind = "ip6" if ":" in address else "ip4"
    match result:
        case "unknown":
            return None
        case "pass":
            return SelfCheckFinding(SelfCheckKind.SPF, address)
        case "none":
            advice = f"Publish a TXT record at {domain}: v=spf1 {kind}:{address} ~all"
            return SelfCheckFinding(SelfCheckKind.SPF, address, "spf_missing", advice)
        case "permerror":
            advice = f"The SPF record of {domain} is not valid. Correct it."
            return SelfCheckFinding(SelfCheckKind.SPF, address, "spf_invalid", advice)
    advice = f"Add {kind}:{address} to the SPF record of {domain}."
    return SelfCheckFinding(SelfCheckKind.SPF, address, "spf_mismatch", advice)


# Customers see them too.
HOST_ADVICE = {
    "unreachable": "Its egress host does not answer. Check that it runs, and that delivery reaches"
    " it.",
    "token": "Its egress host refuses delivery. Give both the same token.",
    "address": "Its egress host does not have {address}, or does not allow it. Configure it there.",
}


def check_egress_host(address: str, problem: str) -> SelfCheckFinding:
    """problem: that delivery has found; empty if there is none."""
    if not problem:
        return SelfCheckFinding(SelfCheckKind.EGRESS_HOST, address)
    advice = HOST_ADVICE.get(problem, HOST_ADVICE["unreachable"]).format(address=address)
    return SelfCheckFinding(SelfCheckKind.EGRESS_HOST, address, f"egress_host_{problem}", advice)


def normalize(name: str) -> str:
    return name.rstrip(".").lower()


def decide(state: SourceChecked | None, result: SelfCheckResult) -> SourceChecked | None:
    """The new state, if it differs."""
    answered = {(one.check, one.address) for one in result.findings}
    problems = [
        one
        for one in (state.problems if state else ())
        if one.address in result.addresses and (one.check, one.address) not in answered
    ]
    problems += [one for one in result.findings if one.problem]
    passed_s = state.passed_s if state else 0.0
    in_dns = [one for one in problems if one.check is not SelfCheckKind.EGRESS_HOST]
    if result.is_complete and not in_dns:
        passed_s = passed_s or result.at_s
    changed = SourceChecked(result.egress_id, result.at_s, tuple(sorted(problems)), passed_s)
    if state and state[2:] == changed[2:]:
        return None
    return changed


@dataclass(slots=True)
class SourceChecks:
    """The latest results, as a policy source. required: a source sends nothing before it has passed
    its checks in DNS once; one without an address of its own has none. A source whose egress host
    fails is suspended until a check finds it well."""

    required: bool = False
    kinds: tuple[ScopeKind, ...] = (ScopeKind.WARMUP,)
    reason: str = ""
    _states: dict[str, SourceChecked] = field(default_factory=dict)
    _checkable: frozenset[str] = frozenset()
    _hosted: dict[str, tuple[str, ...]] = field(default_factory=dict)  # their addresses, by id

    def apply(self, event: SourceChecked) -> None:
        self._states[event.egress_id] = event

    def record(self, result: SelfCheckResult) -> SourceChecked | None:
        """The event, if something has changed. It is applied already."""
        event = decide(self._states.get(result.egress_id), result)
        if event:
            self.apply(event)
        return event

    def replace_sources(self, sources: Iterable[EgressSource]) -> None:
        listed = list(sources)
        self._checkable = frozenset(
            one.egress_id for one in listed if one.source_ip or one.source_ipv6
        )
        self._hosted = {one.egress_id: addresses_of(one) for one in listed if one.egress_host}
        for egress_id in self._states.keys() - {one.egress_id for one in listed}:
            del self._states[egress_id]

    def record_host_failure(self, egress_id: str, *, at_s: float) -> SourceChecked | None:
        """An attempt has failed at the egress host; the next check finds out why."""
        addresses = self._hosted.get(egress_id)
        if not addresses or self.host_problems(egress_id):
            return None
        findings = tuple(check_egress_host(one, "unreachable") for one in addresses)
        return self.record(SelfCheckResult(egress_id, at_s, addresses, findings, is_complete=False))

    def host_problems(self, egress_id: str) -> list[SelfCheckFinding]:
        """Of its egress host, if it has one."""
        state = self._states.get(egress_id)
        if state is None or egress_id not in self._hosted:
            return []
        return [one for one in state.problems if one.check is SelfCheckKind.EGRESS_HOST]

    def problems(self, egress_id: str) -> list[SelfCheckFinding]:
        """All that concern the source as it is."""
        state = self._states.get(egress_id)
        is_hosted = egress_id in self._hosted
        return [
            one
            for one in (state.problems if state else ())
            if is_hosted or one.check is not SelfCheckKind.EGRESS_HOST
        ]

    def states(self) -> Mapping[str, SourceChecked]:
        return self._states

    def has_passed(self, egress_id: str) -> bool:
        state = self._states.get(egress_id)
        return state is not None and state.passed_s > 0

    def needs_check(self, egress_id: str) -> bool:
        """Whether the source must pass its checks before it sends."""
        return self.required and egress_id in self._checkable and not self.has_passed(egress_id)

    def limits_of(self, _: LimitScope, __: float) -> Limits:
        return NO_LIMITS

    def suspension_of(self, scope: LimitScope, _: float) -> Suspension | None:
        if self.needs_check(scope.id):
            return Suspension(inf, WaitReason.NO_EGRESS)
        return Suspension(inf, WaitReason.EGRESS_HOST) if self.host_problems(scope.id) else None


def addresses_of(source: EgressSource) -> tuple[str, ...]:
    return tuple(one for one in (source.source_ip, source.source_ipv6) if one)
