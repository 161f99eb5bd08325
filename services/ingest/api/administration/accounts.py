"""Accounts, which operators create."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from contracts.ingest.v1.directory_pb2 import Account, AccountStatus, Tenant
from kernel.brand import Brands
from kernel.ids import uuid7_text
from services.ingest.api.administration.brands import check_brand
from services.ingest.api.administration.directory import (
    DirectoryResource,
    Name,
    Reason,
    conflict,
    find,
    set_given_fields,
)
from services.ingest.api.administration.plans import PlanChecks
from services.ingest.api.callers import Caller, CallerKind
from services.ingest.domain.email import RequestModel
from services.ingest.domain.patterns import LINE
from services.ingest.domain.problem import not_found
from services.ingest.store.directory_lists import EntryOwner, PageBounds

Email = Annotated[str, Meta(max_length=320, pattern=LINE)]
PlanId = Annotated[str, Meta(max_length=200, pattern=LINE)]
BrandId = Annotated[str, Meta(max_length=40)]
BillingId = Annotated[str, Meta(max_length=200, pattern=LINE)]


class CreateAccountRequest(RequestModel):
    """A customer of this installation. plan: id of one of the price book; empty: no limits and no
    bill. brand: id of one; empty: that of the request's host.
    billing_id: its id in the billing system to which usage is exported."""

    name: Name
    plan: PlanId = ""
    billing_email: Email = ""
    brand: BrandId = ""
    billing_id: BillingId = ""


class UpdateAccountRequest(RequestModel):
    """Only the given fields are changed."""

    name: Name | UnsetType = UNSET
    plan: PlanId | UnsetType = UNSET
    billing_email: Email | UnsetType = UNSET
    brand: BrandId | UnsetType = UNSET
    billing_id: BillingId | UnsetType = UNSET


class SuspendAccountRequest(RequestModel):
    """reason: for the account."""

    reason: Reason = ""


class AccountResource:
    def __init__(self, directory: DirectoryResource, brands: Brands, plans: PlanChecks) -> None:
        self._directory = directory
        self._brands = brands
        self._plans = plans

    async def create(self, caller: Caller, given: CreateAccountRequest) -> Account:
        account = Account(account_id=uuid7_text(), **msgspec.structs.asdict(given))
        self._plans.check_account(account)
        async with self._directory.changing(caller) as change:
            await check_brand(change, self._brands, given.brand)
            await change.save(account)
        return account

    async def page(self, page: PageBounds, *, name: str) -> tuple[Sequence[Account], bool]:
        return await self._directory.page(Account, EntryOwner(), page, equal={"name": name})

    async def get(self, caller: Caller, account_id: str) -> Account:
        found = await self._directory.get(Account, EntryOwner(), account_id)
        if caller.kind != CallerKind.OPERATOR and found.account_id != caller.account_id:
            raise not_found("the account")
        return found

    async def update(self, caller: Caller, account_id: str, given: UpdateAccountRequest) -> Account:
        """Its keys and domains keep the names of an earlier brand."""
        async with self._directory.changing(caller) as change:
            account = await find(change, caller, Account, entry_id=account_id)
            if given.brand is not UNSET:
                await check_brand(change, self._brands, given.brand)
            set_given_fields(account, given)
            if given.plan is not UNSET or given.brand is not UNSET:
                self._plans.check_account(account)
            await change.save(account)
        return account

    async def suspend(self, caller: Caller, account_id: str, reason: str) -> Account:
        """Its live mail is refused from now on. Repeating it changes the reason."""
        async with self._directory.changing(caller) as change:
            account = await find(change, caller, Account, entry_id=account_id)
            account.status = AccountStatus.ACCOUNT_STATUS_SUSPENDED
            account.status_reason = reason
            await change.save(account, "suspend")
        return account

    async def resume(self, caller: Caller, account_id: str) -> Account:
        async with self._directory.changing(caller) as change:
            account = await find(change, caller, Account, entry_id=account_id)
            account.status = AccountStatus.ACCOUNT_STATUS_ACTIVE
            account.status_reason = ""
            await change.save(account, "resume")
        return account

    async def delete(self, caller: Caller, account_id: str) -> Account:
        """Only without tenants. Its keys stop working."""
        async with self._directory.changing(caller) as change:
            account = await find(change, caller, Account, entry_id=account_id)
            if await change.owns(Tenant, "account_id", account.account_id):
                raise conflict("account_in_use", "The account has tenants. Delete them first.")
            account.deleted = True
            await change.save(account)
        return account
