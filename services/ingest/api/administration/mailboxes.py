"""Mailboxes of tenants: usernames and passwords for SMTP submission."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import UNSET, Meta, UnsetType

from contracts.ingest.v1.directory_pb2 import Domain, Mailbox, MailboxStatus
from kernel import auth, clock
from kernel.crypto import sha256
from kernel.ids import uuid7_text
from mail.address import AddressError
from services.ingest.api.administration.api_keys import DAY_S, GRACE_MAX_S, is_test
from services.ingest.api.administration.directory import WHAT, DirectoryResource, conflict, find
from services.ingest.api.administration.plans import PlanChecks
from services.ingest.api.administration.tenants import TenantLimits
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.callers import Caller
from services.ingest.domain.email import RequestModel
from services.ingest.domain.mailbox import canonical_address, is_rotating
from services.ingest.domain.patterns import LINE
from services.ingest.domain.problem import Fault, Problem, invalid, not_found
from services.ingest.domain.verification import may_send, missing_record
from services.ingest.store.directory import DirectoryTransaction
from services.ingest.store.directory_lists import PageBounds
from services.ingest.store.mailboxes import add_mailboxes, count_mailboxes

BATCH_MAX = 500
STATUSES = {
    "active": MailboxStatus.MAILBOX_STATUS_ACTIVE,
    "paused": MailboxStatus.MAILBOX_STATUS_PAUSED,
}
MailboxName = Annotated[str, Meta(max_length=200, pattern=LINE)]


class MailboxLimits(TenantLimits):
    """Messages per period; 0: no limit. Beyond it they wait."""


class CreateMailboxRequest(RequestModel):
    """address: of a verified domain. any_address: also send from the other addresses of its domain.
    test: send to the sandbox only; defaults to the mode of the creating key."""

    address: Annotated[str, Meta(min_length=3, max_length=320)]
    name: MailboxName = ""
    any_address: bool = False
    limits: MailboxLimits = msgspec.field(default_factory=MailboxLimits)
    test: bool | None = None


MailboxBatch = Annotated[list[CreateMailboxRequest], Meta(min_length=1, max_length=BATCH_MAX)]


class UpdateMailboxRequest(RequestModel):
    """Only the given fields are changed. limits: replaced as a whole."""

    name: MailboxName | UnsetType = UNSET
    status: Literal["active", "paused"] | UnsetType = UNSET
    any_address: bool | UnsetType = UNSET
    limits: MailboxLimits | UnsetType = UNSET


class RotateMailboxRequest(RequestModel):
    """grace_s: seconds that the old password still works. force: also while an earlier rotation is
    in progress, whose old password then no longer works."""

    grace_s: Annotated[int, Meta(ge=0, le=GRACE_MAX_S)] = DAY_S
    force: bool = False


class SmtpHost(NamedTuple):
    """Where mail programs submit. port: with STARTTLS. tls_port: with TLS from the start. 0: not
    offered."""

    host: str = "localhost"
    port: int = 0
    tls_port: int = 0


class MailboxWithPassword(NamedTuple):
    """With its password, which is not stored."""

    mailbox: Mailbox
    password: str


class MailboxResource:
    """count_max: mailboxes of a tenant. smtp: of accounts without a brand of their own."""

    def __init__(
        self,
        directory: DirectoryResource,
        brands: BrandResolver,
        plans: PlanChecks,
        *,
        smtp: SmtpHost,
        count_max: int,
    ) -> None:
        self._directory = directory
        self._plans = plans
        self._brands = brands
        self._smtp = smtp
        self._count_max = count_max

    def smtp_of(self, mailbox: Mailbox) -> SmtpHost:
        host = self._brands.smtp_host_of(mailbox.account_id)
        return self._smtp._replace(host=host) if host else self._smtp

    async def create(
        self, caller: Caller, given: Sequence[CreateMailboxRequest], *, pointer: str = "#/address"
    ) -> list[MailboxWithPassword]:
        """All or none. caller: of a tenant. pointer: of an address; {} stands for its index. Raises
        Problem."""
        account_id = caller.tenant.account_id if caller.tenant else ""
        domains = await self._directory.domains(caller.tenant_id, account_id)
        pointers = [pointer.format(index) for index in range(len(given))]
        faults: list[Fault] = []
        named: dict[tuple[str, bool], str] = {}
        made: list[MailboxWithPassword] = []
        for one, at in zip(given, pointers, strict=True):
            try:
                test = is_test(caller, one.test, what="mailboxes")
                new = new_mailbox(one, domains, tenant_id=caller.tenant_id, test=test, pointer=at)
                _check_domain(caller, new.mailbox.domain_id)
                made.append(new)
                faults += repeated_fault(new.mailbox, named, at)
            except Problem as problem:
                if problem.status != 422:
                    raise
                faults += problem.faults
        if faults:
            raise invalid(faults)
        mailboxes = [one.mailbox for one in made]
        async with self._directory.changing(caller) as change:
            await check_addresses_free(change, mailboxes, pointers)
            await check_count(change, mailboxes, pointers, count_max=self._count_max)
            live = [at for one, at in zip(mailboxes, pointers, strict=True) if not one.test]
            await self._plans.check_room(change.tx, Mailbox, account_id, pointers=live)
            await check_domains(change, mailboxes, pointers)
            await add_mailboxes(change, mailboxes)
        return made

    async def page(
        self, caller: Caller, page: PageBounds, *, address: str
    ) -> tuple[Sequence[Mailbox], bool]:
        """Newest first. A test key lists test mailboxes only."""
        equal: dict[str, object] = {"address": _filter(address)}
        if caller.key.test:
            equal["test"] = True
        return await self._directory.page(Mailbox, caller.owner, page, equal=equal)

    async def get(self, caller: Caller, mailbox_id: str) -> Mailbox:
        found = await self._directory.get(Mailbox, caller.owner, mailbox_id)
        _check_mode(caller, found)
        return found

    async def last_used(self, caller: Caller, found: Sequence[Mailbox]) -> dict[str, datetime]:
        """When mailboxes last logged in or sent, to the minute, by id."""
        ids = [one.mailbox_id for one in found]
        return await self._directory.last_used(caller.owner, ids, kind=Mailbox)

    async def update(self, caller: Caller, mailbox_id: str, given: UpdateMailboxRequest) -> Mailbox:
        async with self._directory.changing(caller) as change:
            mailbox = await _find(change, caller, mailbox_id)
            if given.name is not UNSET:
                mailbox.name = given.name
            if given.status is not UNSET:
                mailbox.status = STATUSES[given.status]
            if given.any_address is not UNSET:
                mailbox.any_address = given.any_address
            if given.limits is not UNSET:
                set_limits(mailbox, given.limits)
            await change.save(mailbox)
        return mailbox

    async def rotate(
        self, caller: Caller, mailbox_id: str, given: RotateMailboxRequest
    ) -> MailboxWithPassword:
        """A new password. The old one stops working after the grace time."""
        now_s = int(clock.now().timestamp())
        async with self._directory.changing(caller) as change:
            mailbox = await _find(change, caller, mailbox_id)
            if is_rotating(mailbox, now_s) and not given.force:
                detail = "A rotation is in progress: wait until its end, or use force."
                raise conflict("rotation_in_progress", detail)
            password = replace_password(mailbox, now_s=now_s, grace_s=given.grace_s)
            await change.save(mailbox, "rotate")
        return MailboxWithPassword(mailbox, password)

    async def delete(self, caller: Caller, mailbox_id: str) -> Mailbox:
        async with self._directory.changing(caller) as change:
            mailbox = await _find(change, caller, mailbox_id)
            mailbox.deleted = True
            await change.save(mailbox)
        return mailbox


def new_mailbox(
    given: CreateMailboxRequest,
    domains: Mapping[str, Domain],
    *,
    tenant_id: str,
    test: bool,
    pointer: str = "",
) -> MailboxWithPassword:
    """domains: of the tenant, by name. Raises Problem."""
    try:
        canonical = canonical_address(given.address)
    except AddressError as error:
        raise invalid([Fault(pointer, "invalid_address", f"Invalid address: {error}")]) from None
    domain = _domain_of(canonical, domains, test=test, pointer=pointer)
    password = auth.generate_password()
    mailbox = Mailbox(
        mailbox_id=uuid7_text(),
        account_id=domain.account_id,
        tenant_id=tenant_id,
        domain_id=domain.domain_id,
        address=canonical,
        name=given.name,
        any_address=given.any_address,
        test=test,
        password_sha256=sha256(password),
        status=MailboxStatus.MAILBOX_STATUS_ACTIVE,
    )
    set_limits(mailbox, given.limits)
    return MailboxWithPassword(mailbox, password)


def set_limits(mailbox: Mailbox, limits: MailboxLimits) -> None:
    mailbox.per_second_max = limits.per_second
    mailbox.per_hour_max = limits.per_hour
    mailbox.per_day_max = limits.per_day


def replace_password(mailbox: Mailbox, *, now_s: int, grace_s: int) -> str:
    """Returns the new password."""
    password = auth.generate_password()
    mailbox.ClearField("previous_sha256")
    mailbox.ClearField("previous_expires_at")
    if grace_s:
        mailbox.previous_sha256 = mailbox.password_sha256
        mailbox.previous_expires_at.CopyFrom(Timestamp(seconds=now_s + grace_s))
    mailbox.password_sha256 = sha256(password)
    return password


def _domain_of(address: str, domains: Mapping[str, Domain], *, test: bool, pointer: str) -> Domain:
    """The domain of an address. Live mailboxes need a verified one. Raises Problem."""
    name = address.rpartition("@")[2]
    if (domain := domains.get(name)) is None:
        raise invalid([_no_domain(address, pointer)])
    if not test and not may_send(domain):
        detail = f"{name} is not verified: DNS lacks {missing_record(domain)}."
        raise invalid([Fault(pointer, "domain_not_verified", detail)])
    return domain


def _no_domain(address: str, pointer: str) -> Fault:
    name = address.rpartition("@")[2]
    return Fault(pointer, "invalid", f"{name} is not one of your domains. Add the domain first.")


def repeated_fault(
    mailbox: Mailbox, named: dict[tuple[str, bool], str], pointer: str
) -> list[Fault]:
    """The fault of an address that the batch has named before. named: pointers by address and mode,
    to which this one is added."""
    first = named.setdefault((mailbox.address, mailbox.test), pointer)
    if first == pointer:
        return []
    detail = f"The batch names {mailbox.address} twice. Name it once."
    return [Fault(pointer, "duplicate", detail)]


async def check_addresses_free(
    change: DirectoryTransaction, mailboxes: Sequence[Mailbox], pointers: Sequence[str]
) -> None:
    """Raises Problem 409 for addresses that have a mailbox already."""
    taken: set[tuple[str, bool]] = set()
    for test in {one.test for one in mailboxes}:
        addresses = [one.address for one in mailboxes if one.test == test]
        found = await change.mailboxes_at(mailboxes[0].tenant_id, addresses, test=test)
        taken |= {(one.address, test) for one in found}
    faults = []
    for one, pointer in zip(mailboxes, pointers, strict=True):
        if (one.address, one.test) in taken:
            detail = f"There is a mailbox {one.address} already. Rotate its password instead."
            faults.append(Fault(pointer, "already_exists", detail))
    if faults:
        raise Problem(409, "already_exists", detail=faults[0].detail, faults=faults)


async def check_count(
    change: DirectoryTransaction,
    mailboxes: Sequence[Mailbox],
    pointers: Sequence[str],
    *,
    count_max: int,
) -> None:
    """Raises Problem 422 if the tenant would have too many; it names the first beyond the limit."""
    free = count_max - await count_mailboxes(change, mailboxes[0].tenant_id)
    if len(mailboxes) > free:
        detail = f"A tenant can have {count_max:,} mailboxes. Delete others, or use another tenant."
        raise invalid([Fault(pointers[max(free, 0)], "too_many", detail)])


async def check_domains(
    change: DirectoryTransaction, mailboxes: Sequence[Mailbox], pointers: Sequence[str]
) -> None:
    """Raises Problem 422 if a domain was deleted meanwhile."""
    existing = await change.existing(Domain, {one.domain_id for one in mailboxes})
    faults = [
        _no_domain(one.address, pointer)
        for one, pointer in zip(mailboxes, pointers, strict=True)
        if one.domain_id not in existing
    ]
    if faults:
        raise invalid(faults)


async def _find(change: DirectoryTransaction, caller: Caller, mailbox_id: str) -> Mailbox:
    """A mailbox to change. Raises Problem."""
    mailbox = await find(change, caller, Mailbox, entry_id=mailbox_id)
    _check_mode(caller, mailbox)
    _check_domain(caller, mailbox.domain_id)
    return mailbox


def _check_mode(caller: Caller, mailbox: Mailbox) -> None:
    """A test key has no access to live mailboxes. Raises Problem."""
    if caller.key.test and not mailbox.test:
        raise not_found(WHAT[Mailbox])


def _check_domain(caller: Caller, domain_id: str) -> None:
    """Raises Problem 403 if the key is restricted to another domain."""
    if caller.key.domain_id and caller.key.domain_id != domain_id:
        detail = "This key is restricted to one domain, and the mailbox is of another."
        raise Problem(403, "restricted_api_key", detail=detail)


def _filter(address: str) -> str:
    """The canonical form of an address to look for; what is none matches nothing."""
    try:
        return canonical_address(address) if address else ""
    except AddressError:
        return address
