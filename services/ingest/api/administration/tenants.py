"""Tenants of accounts."""

from collections.abc import Sequence
from typing import Annotated

from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import UNSET, Meta, UnsetType

from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Domain, Mailbox, Tenant, TenantPause
from kernel import clock, times
from kernel.crypto import SecretKeyring, new_key
from kernel.ids import uuid7_text
from services.ingest.api.administration.base import (
    LINE,
    Directory,
    Name,
    check_id,
    checked_filter,
    conflict,
    find,
)
from services.ingest.api.callers import Caller, CallerKind
from services.ingest.domain.email import RequestModel
from services.ingest.domain.pause import is_paused
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.store.directory import DirectoryChange
from services.ingest.store.directory_lists import Page

Most = Annotated[int, Meta(ge=0, le=2**32 - 1)]
ExternalId = Annotated[str, Meta(max_length=200, pattern=LINE)]


class CreateTenantRequest(RequestModel):
    """external_id: your own id of the customer. account_id: for operators, who have to give it."""

    name: Name
    external_id: ExternalId = ""
    account_id: str | None = None


class TenantLimits(RequestModel):
    """Messages per period; 0: no limit."""

    per_second: Most = 0
    per_hour: Most = 0
    per_day: Most = 0


class UpdateTenantRequest(RequestModel):
    """Only the given fields are changed. limits: replaced as a whole."""

    name: Name | UnsetType = UNSET
    external_id: ExternalId | UnsetType = UNSET
    limits: TenantLimits | UnsetType = UNSET


class PauseTenantRequest(RequestModel):
    """until: when it ends by itself; without it, when the tenant is resumed."""

    reason: Annotated[str, Meta(max_length=500)] = ""
    until: str | None = None


class Tenants:
    def __init__(self, directory: Directory, secrets: SecretKeyring) -> None:
        self._directory = directory
        self._secrets = secrets

    async def create(self, caller: Caller, given: CreateTenantRequest) -> Tenant:
        async with self._directory.changing(caller) as change:
            account_id = await account_of(change, caller, given.account_id)
            tenant = self.new(account_id, given.name, external_id=given.external_id)
            await change.save(tenant)
        return tenant

    def new(self, account_id: str, name: str, *, external_id: str = "") -> Tenant:
        return Tenant(
            tenant_id=uuid7_text(),
            account_id=account_id,
            name=name,
            external_id=external_id,
            content_key=self._secrets.encrypt(new_key()),
        )

    async def page(
        self, caller: Caller, page: Page, *, external_id: str, account_id: str
    ) -> tuple[Sequence[Tenant], bool]:
        equal = {"external_id": external_id, "account_id": checked_filter(account_id, "account_id")}
        return await self._directory.page(Tenant, caller.owner, page, equal=equal)

    async def get(self, caller: Caller, tenant_id: str) -> Tenant:
        return await self._directory.get(Tenant, caller.owner, tenant_id)

    async def update(self, caller: Caller, tenant_id: str, given: UpdateTenantRequest) -> Tenant:
        async with self._directory.changing(caller) as change:
            tenant = await find(change, caller, Tenant, entry_id=tenant_id)
            if given.name is not UNSET:
                tenant.name = given.name
            if given.external_id is not UNSET:
                tenant.external_id = given.external_id
            if given.limits is not UNSET:
                tenant.per_second_max = given.limits.per_second
                tenant.per_hour_max = given.limits.per_hour
                tenant.per_day_max = given.limits.per_day
            await change.save(tenant)
        return tenant

    async def pause(self, caller: Caller, tenant_id: str, given: PauseTenantRequest) -> Tenant:
        """Its live mail is refused from now on. A tenant that the operator has paused stays so."""
        until = _until(given.until)
        async with self._directory.changing(caller) as change:
            tenant = await find(change, caller, Tenant, entry_id=tenant_id)
            _check_pause(caller, tenant)
            pause = TenantPause(reason=given.reason, until=until, by=caller.kind.value)
            tenant.pause.CopyFrom(pause)
            await change.save(tenant, "pause")
        return tenant

    async def resume(self, caller: Caller, tenant_id: str) -> Tenant:
        async with self._directory.changing(caller) as change:
            tenant = await find(change, caller, Tenant, entry_id=tenant_id)
            _check_pause(caller, tenant)
            tenant.ClearField("pause")
            await change.save(tenant, "resume")
        return tenant

    async def delete(self, caller: Caller, tenant_id: str) -> Tenant:
        """Only without keys, domains and mailboxes, as by `obm tenant remove`."""
        async with self._directory.changing(caller) as change:
            tenant = await find(change, caller, Tenant, entry_id=tenant_id)
            if await change.owns(ApiKey, "tenant_id", tenant.tenant_id):
                raise conflict("tenant_in_use", "The tenant has API keys. Delete them first.")
            if await change.owns(Domain, "tenant_id", tenant.tenant_id):
                raise conflict("tenant_in_use", "The tenant has domains. Delete them first.")
            if await change.owns(Mailbox, "tenant_id", tenant.tenant_id):
                raise conflict("tenant_in_use", "The tenant has mailboxes. Delete them first.")
            tenant.deleted = True
            await change.save(tenant)
        return tenant


async def account_of(change: DirectoryChange, caller: Caller, given: str | None) -> str:
    """The account of a new entry: the caller's, or that which an operator names. Raises Problem."""
    if caller.kind != CallerKind.OPERATOR:
        if given is not None and given != caller.account_id:
            raise invalid([Fault("#/account_id", "invalid", "This is not your account_id.")])
        return caller.account_id
    if given is None:
        detail = "An operator has to name the account: account_id is missing."
        raise invalid([Fault("#/account_id", "missing_required_field", detail)])
    account_id = check_id(given, "#/account_id")
    if await change.find(Account, account_id) is None:
        raise invalid([Fault("#/account_id", "invalid", "There is no account with this id.")])
    return account_id


def _check_pause(caller: Caller, tenant: Tenant) -> None:
    """Only an operator can end or change an operator's pause. Raises Problem."""
    paused = is_paused(tenant, clock.now().timestamp())
    if paused and tenant.pause.by == CallerKind.OPERATOR and caller.kind != CallerKind.OPERATOR:
        detail = "The operator has paused this tenant, so only the operator can resume it."
        raise Problem(403, "restricted_api_key", detail=detail)


def _until(text: str | None) -> Timestamp | None:
    """Raises Problem."""
    if text is None:
        return None
    try:
        seconds = int(times.parse_time(text).timestamp())
    except ValueError as error:
        raise invalid([Fault("#/until", "invalid_time", f"Invalid until: {error}.")]) from None
    if seconds <= clock.now().timestamp():
        raise invalid([Fault("#/until", "invalid_time", "until is in the past.")])
    return Timestamp(seconds=seconds)
