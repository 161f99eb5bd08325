"""A key cannot create a key with more permissions than its own."""

from collections.abc import Sequence
from ipaddress import ip_network

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.ingest.v1.directory_pb2 import ApiKey
from kernel import clock, times
from services.ingest.domain.problem import Fault, Problem, invalid

LIFE_MAX_S = 100 * 365 * 86_400


def check_within(creator: ApiKey, key: ApiKey) -> None:
    """Raises Problem 403 if the new key is for more than the creating key: other domains, networks
    outside its own, or a later time."""
    if creator.domain_id and key.domain_id != creator.domain_id:
        detail = "This key is restricted to one domain and can create keys for that domain only."
        raise Problem(403, "restricted_api_key", detail=detail)
    own = [ip_network(cidr) for cidr in creator.cidrs]
    if own and not key.cidrs:
        detail = "This key is restricted to CIDR ranges. The other key is not."
        raise Problem(403, "restricted_api_key", detail=detail)
    for cidr in own and map(ip_network, key.cidrs):
        if not any(cidr.version == one.version and cidr.subnet_of(one) for one in own):  # type: ignore[arg-type]
            detail = f"This key is restricted to CIDR ranges. {cidr} is outside them."
            raise Problem(403, "restricted_api_key", detail=detail)
    latest = creator.expires_at.seconds
    if latest and not 0 < key.expires_at.seconds <= latest:
        until = times.clamp_timestamp(creator.expires_at).isoformat()
        detail = f"The new key would expire after this one. Use at most {until}."
        raise Problem(403, "restricted_api_key", detail=detail)


def parse_networks(cidrs: Sequence[str]) -> list[str]:
    """Raises Problem."""
    try:
        return [str(ip_network(cidr, strict=False)) for cidr in cidrs]
    except ValueError as error:
        raise invalid([Fault("#/cidrs", "invalid", f"Invalid cidrs: {error}.")]) from None


def parse_expiry(text: str | None, creator: ApiKey) -> Timestamp | None:
    """The expiry, by default that of the creating key. Raises Problem."""
    if text is None:
        return creator.expires_at if creator.HasField("expires_at") else None
    try:
        seconds = int(times.parse_time(text).timestamp())
    except ValueError as error:
        raise invalid(
            [Fault("#/expires_at", "invalid_time", f"Invalid expires_at: {error}.")]
        ) from None
    if not 0 < seconds - clock.now().timestamp() <= LIFE_MAX_S:
        detail = "expires_at is not within the next 100 years."
        raise invalid([Fault("#/expires_at", "invalid_time", detail)])
    return Timestamp(seconds=seconds)
