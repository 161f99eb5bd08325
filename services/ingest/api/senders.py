"""Whether a key can send an email from its domain, and with what the domain allows."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from contracts.ingest.v1.directory_pb2 import Domain
from kernel import clock
from services.ingest.api.access import Principal
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.domain.links import freeze_links, may_have_links
from services.ingest.domain.problem import Fault, Problem
from services.ingest.domain.tracking_host import LinkHosts
from services.ingest.domain.valid_email import ValidEmail


class FindDomain(Protocol):
    """`AccessControl.sending_domain_of`, or what has its results."""

    async def __call__(self, principal: Principal, name: str, /, *, test: bool) -> Domain: ...


@dataclass(frozen=True, slots=True)
class SenderResolver:
    """brands: of accounts. hosts: of domains."""

    find: FindDomain
    brands: BrandResolver
    hosts: LinkHosts

    async def domain_of(self, principal: Principal, email: ValidEmail) -> Domain:
        """The domain of an email, whose links are in its content then. Raises Problem: 403 if this
        key cannot send from it, 422 if it does not allow what the email has."""
        domain = await self.find(principal, email.sender.domain, test=email.test)
        if email.on_behalf is not None:
            await self.find(principal, email.on_behalf.domain, test=email.test)
        if may_have_links(email, domain):
            own_host = self.hosts.own_host(domain, clock.now())
            brand = self.brands.of(principal.tenant.account_id)
            freeze_links(email, domain, brand, own_host=own_host)
        return domain


async def find_together(
    find: FindDomain, principal: Principal, emails: Sequence[ValidEmail]
) -> FindDomain:
    """Look up the domains of a batch once and all at the same time, because each that is unknown
    waits for a read of the directory."""
    mailboxes = ((one, email.test) for email in emails for one in (email.sender, email.on_behalf))
    names = list({(one.domain, test) for one, test in mailboxes if one is not None})
    lookups = (find(principal, name, test=test) for name, test in names)
    results = dict(zip(names, await asyncio.gather(*lookups, return_exceptions=True), strict=True))

    async def result(_: Principal, name: str, *, test: bool) -> Domain:
        found = results[name, test]
        if isinstance(found, BaseException):
            raise found
        return found

    return result


async def check_senders(
    senders: SenderResolver,
    principal: Principal,
    valid: Sequence[ValidEmail],
    *,
    faults: Sequence[Fault],
    permissive: bool,
) -> tuple[list[ValidEmail], list[Fault]]:
    """The emails that this key can send from their domain, and all faults of the others. Raises
    Problem unless permissive, or if no email is left. faults: those of the emails that are not in
    `valid`."""
    faulty = {index_of(fault) for fault in faults}
    indexes = (index for index in itertools.count() if index not in faulty)
    batch = replace(senders, find=await find_together(senders.find, principal, valid))
    own: list[ValidEmail] = []
    refused: list[Fault] = []
    first: Problem | None = None
    for one, index in zip(valid, indexes, strict=False):
        try:
            await batch.domain_of(principal, one)
            own.append(one)
        except Problem as problem:
            if problem.status not in {403, 422}:
                raise
            first = first or problem
            refused += batch_faults(index, problem)
    left_out = sorted([*faults, *refused], key=index_of)
    if first is not None and not (permissive and own):
        raise Problem(first.status, first.name, detail=refused[0].detail, faults=left_out)
    return own, left_out


def batch_faults(index: int, problem: Problem) -> list[Fault]:
    """The faults of one email of a batch."""
    found = problem.faults or (Fault("#", problem.name, problem.detail),)
    return [
        Fault(f"#/{index}{one.pointer[1:]}", one.code, f"[{index}] {one.detail}") for one in found
    ]


def index_of(fault: Fault) -> int:
    """The index of the fault's email in the batch."""
    return int(fault.pointer.split("/")[1])
