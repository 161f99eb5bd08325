"""API keys of operators, accounts and tenants."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contracts.ingest.v1.directory_pb2 import Account, ApiKey, ApiKeyKind, Tenant
from contracts.ingest.v1.events_pb2 import ApiKeyRotated
from kernel import auth, clock
from kernel.brand import Brand, Brands
from kernel.ids import uuid7_text
from kernel.outbox import Outbox
from kernel.topics import encode
from services.ingest.api.administration.directory import (
    WHAT,
    DirectoryResource,
    Name,
    check_id,
    checked_filter,
    conflict,
    find,
)
from services.ingest.api.administration.key_bounds import check_within, parse_expiry, parse_networks
from services.ingest.api.administration.tenants import TenantResource, account_of
from services.ingest.api.callers import Caller, CallerKind
from services.ingest.domain.accepted_event import timestamp
from services.ingest.domain.email import RequestModel
from services.ingest.domain.problem import Fault, Problem, invalid, not_found
from services.ingest.store.directory import DirectoryTransaction
from services.ingest.store.directory_lists import PageBounds

DAY_S = 86_400
GRACE_MAX_S = 7 * DAY_S
PREFIX_CHARS = len("obm_live_") + 6
KINDS = {
    "operator": ApiKeyKind.API_KEY_KIND_OPERATOR,
    "account": ApiKeyKind.API_KEY_KIND_ACCOUNT,
    "tenant": ApiKeyKind.API_KEY_KIND_TENANT,
}
CREATED_BY = {
    CallerKind.OPERATOR: {"operator", "account", "tenant"},
    CallerKind.ACCOUNT: {"account", "tenant"},
    CallerKind.TENANT: {"tenant"},
}


class CreateApiKeyRequest(RequestModel):
    """tenant_id: for a key of kind tenant; without it, an account's new key gets a tenant of its
    own. account_id: for operators. test: defaults to the mode of the creating key. expires_at,
    cidrs: default to those of the creating key, and cannot exceed them."""

    name: Name
    kind: Literal["operator", "account", "tenant"] = "tenant"
    account_id: str | None = None
    tenant_id: str | None = None
    permission: Literal["full_access", "sending_access"] = "full_access"
    domain_id: str | None = None
    cidrs: Annotated[list[str], Meta(max_length=100)] = msgspec.field(default_factory=list)
    expires_at: str | None = None
    test: bool | None = None


class UpdateApiKeyRequest(RequestModel):
    """Only the name of a key can be changed."""

    name: Name


class RotateApiKeyRequest(RequestModel):
    """grace_s: seconds that the old key still works. force: also while an earlier rotation of the
    key is in progress."""

    grace_s: Annotated[int, Meta(ge=0, le=GRACE_MAX_S)] = DAY_S
    force: bool = False


class ApiKeyResource:
    def __init__(
        self,
        directory: DirectoryResource,
        tenants: TenantResource,
        brands: Brands,
        *,
        outbox: Outbox,
    ) -> None:
        self._brands = brands
        self._directory = directory
        self._tenants = tenants
        self._outbox = outbox

    async def create(
        self, caller: Caller, given: CreateApiKeyRequest, *, brand: Brand
    ) -> tuple[str, ApiKey]:
        """The secret key, which is not stored, and its record. brand: where the account names
        none."""
        check_kind(caller, given)
        key = ApiKey(
            key_id=uuid7_text(),
            test=is_test(caller, given.test),
            name=given.name,
            kind=KINDS[given.kind],
            scopes=[given.permission],
            domain_id=check_id(given.domain_id, "#/domain_id") if given.domain_id else "",
            cidrs=parse_networks(given.cidrs) or caller.key.cidrs,
            expires_at=parse_expiry(given.expires_at, caller.key),
        )
        check_within(caller.key, key)
        async with self._directory.changing(caller) as change:
            await self._set_owner(change, caller, key, given=given)
            if key.domain_id:
                await self._check_domain(key)
            secret = issue_secret(
                key, await self._slug(change, key.account_id, otherwise=brand.slug)
            )
            await change.save(key)
        return secret, key

    async def page(
        self, caller: Caller, page: PageBounds, *, account_id: str
    ) -> tuple[Sequence[ApiKey], bool]:
        """A test key lists test keys only."""
        equal: dict[str, object] = {"account_id": checked_filter(account_id, "account_id")}
        if caller.key.test:
            equal["test"] = True
        return await self._directory.page(ApiKey, caller.owner, page, equal=equal)

    async def last_used(self, caller: Caller, keys: Sequence[ApiKey]) -> dict[str, datetime]:
        """When keys were last used, to the minute, by id."""
        return await self._directory.last_used(caller.owner, [key.key_id for key in keys])

    async def delete(self, caller: Caller, key_id: str) -> ApiKey:
        async with self._directory.changing(caller) as change:
            key = await find_key(change, caller, key_id)
            key.deleted = True
            await change.save(key)
        return key

    async def rename(self, caller: Caller, key_id: str, given: UpdateApiKeyRequest) -> ApiKey:
        async with self._directory.changing(caller) as change:
            key = await find_key(change, caller, key_id)
            key.name = given.name
            await change.save(key)
        return key

    async def rotate(
        self, caller: Caller, key_id: str, given: RotateApiKeyRequest
    ) -> tuple[str, ApiKey]:
        """A new key for the same purpose. The old one expires after the grace time, if not
        earlier."""
        now_s = int(clock.now().timestamp())
        async with self._directory.changing(caller) as change:
            old = await find_key(change, caller, key_id)
            earlier = await change.rotations_of(old.key_id)
            check_may_rotate(
                old, [*earlier, *await replaced_key_of(change, old)], given, now_s=now_s
            )
            original = earlier[-1] if earlier else old  # a rotation has shortened the life of old
            earlier_slug = auth.brand_of(old.prefix)
            slug = await self._slug(change, old.account_id, otherwise=earlier_slug)
            secret, key = successor_key(old, original, brand=slug)
            check_within(caller.key, key)
            end_s = now_s + given.grace_s
            old.expires_at.seconds = min(end_s, original.expires_at.seconds or end_s)
            await change.save(old, "rotate")
            await change.save(key)
            if key.account_id:  # an operator has no webhooks
                await self._add_event(change, old, key, by=caller)
        return secret, key

    async def _add_event(
        self, change: DirectoryTransaction, old: ApiKey, key: ApiKey, *, by: Caller
    ) -> None:
        now = clock.now()
        event = ApiKeyRotated(
            key_id=key.key_id, rotated_from=old.key_id, tenant_id=key.tenant_id,
            account_id=key.account_id, name=key.name, prefix=key.prefix, test=key.test,
            rotated_at=timestamp(now), old_expires_at=old.expires_at,
            rotated_by=by.key.key_id,
        )  # fmt: skip
        self._outbox.leave_to_sweep(await self._outbox.add(change.tx, [encode(event, now)]))

    async def _set_owner(
        self,
        change: DirectoryTransaction,
        caller: Caller,
        key: ApiKey,
        *,
        given: CreateApiKeyRequest,
    ) -> None:
        """Raises Problem if the owner is not the caller's."""
        if given.kind == "operator":
            return
        tenant_id = given.tenant_id if given.tenant_id is not None else caller.tenant_id or None
        if given.kind == "tenant" and tenant_id is not None:
            tenant = await _tenant(change, caller, tenant_id)
        else:
            key.account_id = await account_of(change, caller, given.account_id)
            if given.kind == "account":
                return
            tenant = self._tenants.new(key.account_id, given.name)
            await change.save(tenant)
        key.account_id, key.tenant_id = tenant.account_id, tenant.tenant_id

    async def _slug(self, change: DirectoryTransaction, account_id: str, *, otherwise: str) -> str:
        """Of the brand that the account names."""
        account = await change.find(Account, account_id) if account_id else None
        named = account is not None and account.brand
        return self._brands.named(named).slug if named else otherwise

    async def _check_domain(self, key: ApiKey) -> None:
        own = await self._directory.domain_ids(key.tenant_id, key.account_id)
        if key.domain_id not in own:
            detail = "domain_id is not one of your domains."
            raise invalid([Fault("#/domain_id", "invalid", detail)])


def new_key(*, test: bool, brand: str, **fields: object) -> tuple[str, ApiKey]:
    """A secret key, and the record to store. brand: a slug."""
    key = ApiKey(key_id=uuid7_text(), test=test, **fields)  # type: ignore[arg-type]
    return issue_secret(key, brand), key


def issue_secret(key: ApiKey, brand: str) -> str:
    """Give the key a secret, of which it stores the digest. brand: a slug."""
    secret = auth.generate_key(test=key.test, brand=brand)
    key.secret_sha256, key.prefix = auth.digest(secret), secret[:PREFIX_CHARS]
    return secret


def successor_key(old: ApiKey, original: ApiKey, *, brand: str) -> tuple[str, ApiKey]:
    """The secret and the record of a key that replaces another. original: with its expiry."""
    secret, key = new_key(
        test=old.test, kind=old.kind, account_id=old.account_id, tenant_id=old.tenant_id,
        name=old.name, scopes=old.scopes, domain_id=old.domain_id, cidrs=old.cidrs,
        rotated_from=old.key_id, brand=brand,
    )  # fmt: skip
    if original.HasField("expires_at"):
        key.expires_at.CopyFrom(original.expires_at)
    return secret, key


def check_may_rotate(
    old: ApiKey, others: Sequence[ApiKey], given: RotateApiKeyRequest, *, now_s: int
) -> None:
    """others: the keys that it has replaced, or that have replaced it. Raises Problem 409 for an
    expired key, and while an earlier rotation is in progress: one of the others still works."""
    if is_expired(old, now_s):
        raise conflict("api_key_expired", "The key has expired. Create a new one.")
    in_progress = any(not one.deleted and not is_expired(one, now_s) for one in others)
    if in_progress and not given.force:
        detail = "A rotation is in progress: wait until the old key has expired, or use force."
        raise conflict("rotation_in_progress", detail)


async def replaced_key_of(change: DirectoryTransaction, key: ApiKey) -> list[ApiKey]:
    """The key that this one has replaced, unless it is deleted."""
    found = await change.find(ApiKey, key.rotated_from) if key.rotated_from else None
    return [found] if found is not None else []


def is_expired(key: ApiKey, now_s: int) -> bool:
    return key.HasField("expires_at") and key.expires_at.seconds <= now_s


async def find_key(change: DirectoryTransaction, caller: Caller, key_id: str) -> ApiKey:
    """A key to change. Raises Problem; a test key has no access to live keys."""
    key = await find(change, caller, ApiKey, entry_id=key_id)
    if caller.key.test and not key.test:
        raise not_found(WHAT[ApiKey])
    return key


def check_kind(caller: Caller, given: CreateApiKeyRequest) -> None:
    """Raises Problem if the caller cannot create keys of this kind, or with these owners."""
    named = caller.kind == CallerKind.ACCOUNT and caller.tenant_id
    if given.kind not in CREATED_BY[caller.kind] or (named and given.kind != "tenant"):
        detail = f"This key cannot create keys of the kind {given.kind}."
        raise Problem(403, "restricted_api_key", detail=detail)
    if given.kind != "tenant":
        for name in ("tenant_id", "domain_id", "test"):
            if getattr(given, name) not in {None, False}:
                detail = f"Only keys of the kind tenant can have {name}."
                raise invalid([Fault(f"#/{name}", "invalid", detail)])
    if given.kind == "operator" and given.account_id is not None:
        detail = "A key of the kind operator belongs to no account."
        raise invalid([Fault("#/account_id", "invalid", detail)])


def is_test(caller: Caller, given: bool | None, *, what: str = "keys") -> bool:
    """The mode of a new key or mailbox. Raises Problem."""
    test = caller.key.test if given is None else given
    if caller.key.test and not test:
        detail = f"A test key cannot create live {what}."
        raise Problem(403, "restricted_api_key", detail=detail)
    return test


async def _tenant(change: DirectoryTransaction, caller: Caller, tenant_id: str) -> Tenant:
    found = await change.find(Tenant, check_id(tenant_id, "#/tenant_id"))
    if found is None or not caller.sees(found.account_id, found.tenant_id):
        detail = "There is no tenant with this id."
        raise invalid([Fault("#/tenant_id", "invalid", detail)])
    return found
