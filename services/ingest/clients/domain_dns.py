"""The DNS lookups of a domain's check."""

import asyncio
from collections.abc import Sequence

from kernel.resolver import AuthoritativeResolver, LookupFailed
from mail.domain_check import Published, Values, appended_names
from mail.records import DnsRecord

# The servers of a domain are its owner's: slow ones must not keep other domains from being checked.
TIMEOUT_S = 20.0


async def look_up_records(
    resolver: AuthoritativeResolver,
    domain: str,
    records: Sequence[DnsRecord],
    *,
    timeout_s: float = TIMEOUT_S,
) -> Published:
    """The values of the records, and for a missing one those at names that show a mistake. All are
    unknown if the servers take longer than timeout_s together."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _look_up_all(resolver, domain, records)
    except TimeoutError:
        return {(one.name, one.queried_type): None for one in records}


async def _look_up_all(
    resolver: AuthoritativeResolver, domain: str, records: Sequence[DnsRecord]
) -> Published:
    wanted = [(one.name, one.queried_type) for one in records]
    published: dict[tuple[str, str], Values] = {}
    for found in await asyncio.gather(*(_look_up(resolver, *one) for one in wanted)):
        published |= found
    if missing := [one for one in wanted if published[one] == ()]:
        try:
            zone = await resolver.zone_of(domain)
        except LookupFailed:
            return published
        names = {
            (name, kind) for one, kind in missing for name in appended_names(one, domain, zone)
        }
        for found in await asyncio.gather(*(_look_up(resolver, *one) for one in sorted(names))):
            published |= found
    return published


async def _look_up(
    resolver: AuthoritativeResolver, name: str, kind: str
) -> dict[tuple[str, str], Values]:
    try:
        found = await resolver.look_up(name, kind)
    except LookupFailed:
        return {(name, kind): None}
    values = {(name, kind): found.values}
    return {**values, (name, "CNAME"): (found.alias,)} if found.alias else {**values}
