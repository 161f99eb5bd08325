"""Whether a key can send an email from its domain, and with what the domain allows."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.ingest.v1.directory_pb2 import Domain
from services.ingest.api.access import AccessControl, Principal
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.domain.links import freeze_links, may_have_links
from services.ingest.domain.problem import Fault, Problem
from services.ingest.domain.valid_email import ValidEmail


@dataclass(frozen=True, slots=True)
class Senders:
    """brands: of accounts."""

    access: AccessControl
    brands: BrandResolver

    async def domain_of(self, principal: Principal, email: ValidEmail) -> Domain:
        """The domain of an email, whose links are in its content then. Raises Problem: 403 if this
        key cannot send from it, 422 if it does not allow what the email has."""
        find = self.access.sending_domain_of
        domain = await find(principal, email.sender.domain, test=email.test)
        if email.on_behalf is not None:
            await find(principal, email.on_behalf.domain, test=email.test)
        if may_have_links(email, domain):
            freeze_links(email, domain, self.brands.of(principal.tenant.account_id))
        return domain


async def check_senders(
    senders: Senders,
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
    own: list[ValidEmail] = []
    refused: list[Fault] = []
    first: Problem | None = None
    for one, index in zip(valid, indexes, strict=False):
        try:
            await senders.domain_of(principal, one)
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
