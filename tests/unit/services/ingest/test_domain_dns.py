"""The lookups of a domain's check, with servers that are its owner's."""

import asyncio
from typing import Any, cast

from kernel.resolver import LookupResult
from mail.records import DnsRecord, Purpose
from services.ingest.clients.domain_dns import look_up_records

RECORDS = [
    DnsRecord(Purpose.DKIM, f"{name}._domainkey.shop.example", "TXT", "v=DKIM1", required=True)
    for name in ("a", "b")
]


class Resolver:
    """delay_s: of each answer."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s

    async def look_up(self, name: str, kind: str) -> LookupResult:
        await asyncio.sleep(self._delay_s)
        return LookupResult(("v=DKIM1",))

    async def zone_of(self, name: str) -> str:
        return name


async def test_servers_that_are_slow_make_the_check_unknown_in_time() -> None:
    found = await look_up_records(
        cast(Any, Resolver(3600.0)), "shop.example", RECORDS, timeout_s=0.01
    )
    assert found == {(one.name, "TXT"): None for one in RECORDS}


async def test_servers_that_answer_are_believed() -> None:
    found = await look_up_records(cast(Any, Resolver(0.0)), "shop.example", RECORDS)
    assert found == {(one.name, "TXT"): ("v=DKIM1",) for one in RECORDS}
