"""Why a message waits: one closed list, the same in rows, RPCs, the API and the documentation."""

from enum import StrEnum


class WaitReason(StrEnum):
    """The reasons of a message come first, then those of a queue, which name a limit scope too."""

    SCHEDULED = "scheduled"
    RETRY = "retry"
    GREYLISTED = "greylisted"
    UNREACHABLE = "unreachable"
    TLS_REQUIRED = "tls_required"
    AMBIGUOUS = "ambiguous"
    STALE = "stale"
    DNS = "dns"

    PER_SECOND = "per_second"
    PER_MINUTE = "per_minute"
    PER_HOUR = "per_hour"
    PER_DAY = "per_day"
    IN_FLIGHT = "in_flight"
    SUSPENDED = "suspended"
    NO_EGRESS = "no_egress"
    EGRESS_HOST = "egress_host"
    WARMUP = "warmup"
    OVERRIDE = "override"
    REPUTATION = "reputation"
    LISTED = "listed"
    ALLOWANCE = "allowance"
    TENANT_UNKNOWN = "tenant_unknown"
