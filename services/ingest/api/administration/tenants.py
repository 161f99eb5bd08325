"""Tenants of accounts."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import UNSET, Meta, UnsetType

from contracts.ingest.v1.directory_pb2 import (
    Account,
    AmbiguousPolicy,
    ApiKey,
    Domain,
    Mailbox,
    ReputationPolicy,
    Tenant,
    TenantPause,
)
from kernel import clock
from kernel.crypto import SecretKeyring, new_content_key
from kernel.ids import uuid7_text
from services.ingest.api.administration.directory import (
    DirectoryResource,
    Name,
    Reason,
    check_id,
    checked_filter,
    conflict,
    find,
)
from services.ingest.api.administration.plans import PlanChecks
from services.ingest.api.body_times import parse_future_time
from services.ingest.api.callers import Caller, CallerKind
from services.ingest.domain.email import RequestModel
from services.ingest.domain.patterns import LINE
from services.ingest.domain.pause import is_paused
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.store.directory import DirectoryTransaction
from services.ingest.store.directory_lists import PageBounds

AMBIGUOUS_POLICIES = {
    "retry": AmbiguousPolicy.AMBIGUOUS_POLICY_RETRY,
    "fail": AmbiguousPolicy.AMBIGUOUS_POLICY_FAIL,
}
REPUTATION_POLICIES = {
    "default": ReputationPolicy.REPUTATION_POLICY_UNSPECIFIED,
    "none": ReputationPolicy.REPUTATION_POLICY_NONE,
    "standard": ReputationPolicy.REPUTATION_POLICY_STANDARD,
    "strict": ReputationPolicy.REPUTATION_POLICY_STRICT,
}
Most = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Score = Annotated[float, Meta(ge=0, le=1_000)]
ExternalId = Annotated[str, Meta(max_length=200, pattern=LINE)]


class TenantLimits(RequestModel):
    """Messages per period; 0: no limit."""

    per_second: Most = 0
    per_hour: Most = 0
    per_day: Most = 0


class TenantSettings(RequestModel):
    """What a tenant has defaults for."""

    limits: TenantLimits | UnsetType = UNSET
    ambiguous_policy: Literal["retry", "fail"] | UnsetType = UNSET
    pool_id: str | UnsetType = UNSET
    hold_score: Score | UnsetType = UNSET
    block_score: Score | UnsetType = UNSET
    reputation_policy: Literal["default", "none", "standard", "strict"] | UnsetType = UNSET


class CreateTenantRequest(TenantSettings, kw_only=True):
    """external_id: your own id of the customer. account_id: for operators, who have to give it.
    Other fields: see UpdateTenantRequest."""

    name: Name
    external_id: ExternalId = ""
    account_id: str | None = None


class UpdateTenantRequest(TenantSettings, kw_only=True):
    """Only the given fields are changed. limits: replaced as a whole. ambiguous_policy: after an
    attempt that may have delivered. hold_score and block_score, from which mail is held or blocked
    (0: the default): an account can raise them as far as the operator admits. For operators:
    pool_id, the egress pool (empty: the default); reputation_policy, when the tenant is paused for
    its bounces or complaints."""

    name: Name | UnsetType = UNSET
    external_id: ExternalId | UnsetType = UNSET


class PauseTenantRequest(RequestModel):
    """until: when it ends by itself; without it, when the tenant is resumed."""

    reason: Reason = ""
    until: str | None = None


class MaxThresholds(NamedTuple):
    """The highest scores that an account may set for a tenant; 0: only operators set them."""

    hold_score: float = 5.0
    block_score: float = 10.0

    def check(self, given: TenantSettings) -> None:
        """The default, 0, is always admitted. Raises Problem."""
        for name, highest in self._asdict().items():
            value = getattr(given, name)
            if value is UNSET:
                continue
            if not highest:
                raise _of_operators(name)
            if value > highest:
                detail = f"The operator admits scores up to {highest:g}. Choose a lower one."
                raise invalid([Fault(f"#/{name}", "invalid", detail)])


class TenantResource:
    """resume_waiting: resumes, by id, the mail of a tenant that waits because of its bounces or
    complaints."""

    def __init__(
        self,
        directory: DirectoryResource,
        secrets: SecretKeyring,
        resume_waiting: Callable[[str], Awaitable[None]],
        *,
        plans: PlanChecks,
        max_thresholds: MaxThresholds,
    ) -> None:
        self._directory = directory
        self._plans = plans
        self._max_thresholds = max_thresholds
        self._secrets = secrets
        self._resume_waiting = resume_waiting

    async def create(self, caller: Caller, given: CreateTenantRequest) -> Tenant:
        async with self._directory.changing(caller) as change:
            account_id = await account_of(change, caller, given.account_id)
            tenant = self.new(account_id, given.name, external_id=given.external_id)
            self._apply_settings(caller, tenant, given)
            await self._plans.check_room(change.tx, Tenant, account_id, pointers=["#"])
            await self._plans.check_pool(change.tx, tenant)
            await change.save(tenant)
        return tenant

    def _apply_settings(self, caller: Caller, tenant: Tenant, given: TenantSettings) -> None:
        """Raises Problem."""
        if caller.kind != CallerKind.OPERATOR:
            check_of_operators(given)
            self._max_thresholds.check(given)
        apply_settings(tenant, given)

    def new(self, account_id: str, name: str, *, external_id: str = "") -> Tenant:
        return Tenant(
            tenant_id=uuid7_text(),
            account_id=account_id,
            name=name,
            external_id=external_id,
            content_key=self._secrets.encrypt(new_content_key()),
        )

    async def page(
        self, caller: Caller, page: PageBounds, *, external_id: str, account_id: str, name: str
    ) -> tuple[Sequence[Tenant], bool]:
        equal = {
            "external_id": external_id,
            "account_id": checked_filter(account_id, "account_id"),
            "name": name,
        }
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
            self._apply_settings(caller, tenant, given)
            if given.pool_id is not UNSET:
                await self._plans.check_pool(change.tx, tenant)
            await change.save(tenant)
        return tenant

    async def pause(self, caller: Caller, tenant_id: str, given: PauseTenantRequest) -> Tenant:
        """Its live mail is refused from now on. A tenant that the operator has paused stays so."""
        until = parse_future_time(given.until, "until")
        async with self._directory.changing(caller) as change:
            tenant = await find(change, caller, Tenant, entry_id=tenant_id)
            _check_pause(caller, tenant)
            pause = TenantPause(reason=given.reason, until=until, by=caller.kind.value)
            tenant.pause.CopyFrom(pause)
            await change.save(tenant, "pause")
        return tenant

    async def resume(self, caller: Caller, tenant_id: str) -> Tenant:
        """By an operator, also the mail that waits because of its bounces or complaints. If that
        fails, the pause has ended already, and the request can be repeated."""
        async with self._directory.changing(caller) as change:
            tenant = await find(change, caller, Tenant, entry_id=tenant_id)
            _check_pause(caller, tenant)
            tenant.ClearField("pause")
            await change.save(tenant, "resume")
        if caller.kind == CallerKind.OPERATOR:
            await self._resume_waiting(tenant.tenant_id)
        return tenant

    async def delete(self, caller: Caller, tenant_id: str) -> Tenant:
        """Only without keys, domains and mailboxes."""
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


def check_of_operators(given: TenantSettings) -> None:
    """Raises Problem."""
    for name in OF_OPERATORS:
        if getattr(given, name) is not UNSET:
            raise _of_operators(name)


def _of_operators(name: str) -> Problem:
    detail = f"Only an operator can set {name}."
    return Problem(403, "restricted_api_key", detail=detail)


def apply_settings(tenant: Tenant, given: TenantSettings) -> None:
    """Raises Problem."""
    for name, stored in STORED.items():
        value = getattr(given, name)
        if value is not UNSET:
            setattr(tenant, name, stored(value))
    if given.limits is not UNSET:
        tenant.per_second_max = given.limits.per_second
        tenant.per_hour_max = given.limits.per_hour
        tenant.per_day_max = given.limits.per_day


def _pool_id(text: str) -> str:
    """Raises Problem."""
    return text and check_id(text, "#/pool_id")


# How the settings of a request are stored.
STORED: Mapping[str, Callable[[Any], object]] = {
    "ambiguous_policy": AMBIGUOUS_POLICIES.__getitem__,
    "pool_id": _pool_id,
    "hold_score": float,
    "block_score": float,
    "reputation_policy": REPUTATION_POLICIES.__getitem__,
}
OF_OPERATORS = ("pool_id", "reputation_policy")


async def account_of(change: DirectoryTransaction, caller: Caller, given: str | None) -> str:
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
