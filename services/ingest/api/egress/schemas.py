"""Schemas of the responses, for the OpenAPI document."""

from typing import Literal

from msgspec import Struct

from services.ingest.api.response_schemas import Id, Time


class WarmupResponse(Struct):
    """The growth of what an egress source may send, as a whole or at a site. stage: from 1.
    allowance_today: messages; null: no limit. The counts are those of the day that began at
    day_began_at; only operators see them. advances_at: when the next stage is decided.
    held_because: why the stage stays."""

    enabled: bool
    status: Literal["ramping", "paused", "finished"]
    ramp: str
    stage: int
    of: int
    allowance_today: int | None
    sent: int | None
    delivered: int | None
    refused: int | None
    delivered_share: float | None
    day_began_at: Time | None
    advances_at: Time | None
    held_because: str | None


class ProblemOfIp(Struct):
    """What a self-check has found. advice: what to do."""

    check: str
    address: str
    problem: str
    advice: str


class ListingResponse(Struct):
    """An entry in a DNSBL. suspends: the source sends nothing while it lasts. codes: the addresses
    of the answer, and what they mean. text: why, in the words of the list. ended_at null: it
    lasts."""

    blocklist: str
    suspends: bool
    found_at: Time | None
    address: str
    codes: list[str]
    meaning: str
    text: str | None
    ended_at: Time | None


class SiteOfIp(Struct):
    """A site with a warmup or overrides of its own. overrides: their actions."""

    site: str
    suspended_until: Time | None
    overrides: list[str]
    warmup: WarmupResponse | None


class IpResponse(Struct):
    """An egress source: the addresses that mail leaves from. No address: the operating system
    chooses. ehlo null: the name of the engine. egress_host: host:port of the machine that owns the
    addresses; null: delivery does. in_flight: messages without a result. Both are for operators.
    dnsbl_history: the last listings that have ended; only of a single source, not in lists."""

    object: Literal["ip"]
    id: Id
    addresses: list[str]
    ehlo: str | None
    egress_host: str | None
    pool_id: Id
    state: Literal["provisioning", "warming", "active", "suspended", "draining"]
    paused: bool
    suspended_until: Time | None
    in_flight: int | None
    problems: list[ProblemOfIp]
    dnsbl: list[ListingResponse]
    dnsbl_history: list[ListingResponse]
    warmup: WarmupResponse | None
    sites: list[SiteOfIp]


class OverrideResponse(Struct):
    """A limit or a suspension that ends by itself. name: what has set it, and which scope it
    limits. until: when the action ends. restored_at: when the earlier rate is restored. reason: the
    reply, or the operator's words."""

    object: Literal["override"]
    id: Id
    name: str
    scope: str
    action: Literal[
        "slow_down",
        "one_connection",
        "suspend_site",
        "suspend_egress",
        "suspend_tenant_site",
        "pause_tenant",
    ]
    per_minute: int | None
    set_at: Time
    until: Time
    restored_at: Time
    reason: str | None


class StandingResponse(Struct):
    """A tenant, a sending domain or an egress source that is warned or paused for its bounces or
    complaints. rate: the share of messages that decided."""

    object: Literal["standing"]
    id: str
    subject_kind: Literal["tenant", "egress", "domain"]
    subject_id: str
    standing: Literal["good", "warned", "broadcasts_paused", "paused"]
    reason: str | None
    rate: float
    changed_at: Time
