"""Looks up the CAA records that count for a host (RFC 8659 §3)."""

import asyncio
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.rdata
import dns.resolver

from services.events.domain.caa import CaaRecord, CaaRecords

TIMEOUT_S = 15.0  # of all lookups for a host, which can have many labels


class CaaResolver:
    """resolver: recursive, so that it follows aliases."""

    def __init__(self, resolver: dns.asyncresolver.Resolver) -> None:
        self._resolver = resolver

    async def find(self, host: str) -> CaaRecords | None:
        """The records of the host, or else of the nearest domain above it that has any; without
        records if none has. None if it is not known: SERVFAIL, or no answer."""
        labels = host.split(".")
        try:
            async with asyncio.timeout(TIMEOUT_S):
                for start in range(len(labels)):
                    if (found := await self._query(".".join(labels[start:]))).records:
                        return found
        except (dns.exception.DNSException, OSError, ValueError):
            return None
        return CaaRecords(host, ())

    async def _query(self, name: str) -> CaaRecords:
        """The name is that of its alias, if it has one."""
        try:
            answer = await self._resolver.resolve(f"{name}.", "CAA", raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return CaaRecords(name, ())
        owner = answer.canonical_name.to_text(omit_final_dot=True)
        return CaaRecords(owner, [_record(one) for one in answer.rrset or ()])


class CaaRdata(Protocol):
    flags: int
    tag: bytes
    value: bytes


def _record(data: CaaRdata) -> CaaRecord:
    tag, value = (one.decode("ascii", "replace") for one in (data.tag, data.value))
    return CaaRecord(data.flags, tag.lower(), value)
