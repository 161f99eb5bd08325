"""The state of an egress source, derived from what limits it: nothing stores it."""

from enum import StrEnum
from typing import NamedTuple


class SourceState(StrEnum):
    """provisioning: it must pass its self-checks first. warming: its allowance grows. suspended: an
    operator has paused or suspended it, a DNSBL lists it, or its egress host fails. draining:
    removed, with messages in flight."""

    PROVISIONING = "provisioning"
    WARMING = "warming"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DRAINING = "draining"


class SourceConditions(NamedTuple):
    """in_flight: messages that are assigned to it and have no result."""

    is_removed: bool = False
    is_paused: bool = False
    is_listed: bool = False
    is_suspended: bool = False
    is_host_failing: bool = False
    needs_check: bool = False
    is_warming: bool = False
    in_flight: int = 0


def state_of(facts: SourceConditions) -> SourceState | None:
    """None: the source is gone."""
    if facts.is_removed:
        return SourceState.DRAINING if facts.in_flight else None
    if facts.is_paused or facts.is_listed or facts.is_suspended or facts.is_host_failing:
        return SourceState.SUSPENDED
    if facts.needs_check:
        return SourceState.PROVISIONING
    return SourceState.WARMING if facts.is_warming else SourceState.ACTIVE


USABLE = frozenset((SourceState.WARMING, SourceState.ACTIVE))
