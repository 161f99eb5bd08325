"""Bodies of requests about egress sources and overrides."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from services.ingest.domain.email import RequestModel
from services.ingest.domain.patterns import LINE, explained

Address = Annotated[str, Meta(min_length=2, max_length=100, pattern=LINE)]
HostPort = Annotated[str, Meta(max_length=270, pattern=LINE)]
HostName = Annotated[str, Meta(max_length=253, pattern=LINE)]
Ramp = Annotated[str, Meta(max_length=100, pattern=LINE)]
Site = Annotated[
    str,
    Meta(
        max_length=255,
        pattern=explained(
            r"^[^\x00-\x20\x7f-\xa0/]*$(?!\n)", "Use the name of a site, without spaces and slashes"
        ),
    ),
]


class AddIpRequest(RequestModel):
    """addresses: an IPv4 address, an IPv6 address, or one of each; none lets the operating system
    choose. pool_id: by default that of the pool `default`. ehlo: the name that the addresses
    resolve to; empty: that of the engine. warmup: the ramp of its warmup, such as `default`;
    without it the source is warm. egress_host: host:port of the machine that owns the addresses;
    empty: delivery has them."""

    addresses: Annotated[list[Address], Meta(max_length=2)]
    pool_id: str | None = None
    ehlo: HostName = ""
    egress_host: HostPort = ""
    warmup: Ramp = ""


class UpdateIpRequest(RequestModel):
    """paused: it gets no new messages. egress_host: empty: delivery has the addresses."""

    addresses: Annotated[list[Address], Meta(min_length=1, max_length=2)] | UnsetType = UNSET
    pool_id: str | UnsetType = UNSET
    ehlo: HostName | UnsetType = UNSET
    egress_host: HostPort | UnsetType = UNSET
    paused: bool | UnsetType = UNSET


class WarmupRequest(RequestModel):
    """start: also again, from the first stage of `ramp`, or of the engine's. pause: the allowance
    stays as it is. lower: go back to `stage`, from 1; a ramp never skips stages. finish: the source
    is warm."""

    action: Literal["start", "pause", "resume", "lower", "finish"]
    ramp: Ramp = ""
    stage: Annotated[int, Meta(ge=1, le=1_000)] | None = None


class SuspendIpRequest(RequestModel):
    """until: when it ends by itself, at most 31 days ahead. site: empty: all."""

    until: str
    site: Site = ""


class ResumeIpRequest(RequestModel):
    """site: where a suspension ends; empty: the pause and the suspension of the whole source."""

    site: Site = ""


class OverrideRequest(RequestModel):
    """Of an egress source at a site, or of a tenant, at a site or as a whole. per_minute: messages;
    without it and one_connection, the scope is suspended. one_connection: one message at a time."""

    egress_id: str | None = None
    tenant_id: str | None = None
    site: Site = ""
    per_minute: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    one_connection: bool = False
    hours: Annotated[float, Meta(ge=0.01, le=720)] = 24.0
    reason: Annotated[str, Meta(max_length=200, pattern=LINE)] = ""
