"""Authentication, permissions and rate limits of API keys."""

from collections.abc import Callable, Container
from typing import Literal, NamedTuple

from contracts.ingest.v1.directory_pb2 import ApiKey, Domain, Mailbox, Tenant
from kernel import clock
from kernel.auth import SENDING_ACCESS, ApiKeyAuthenticator, AuthError
from kernel.crypto import SecretKeyring, sha256
from kernel.errors import Unavailable
from kernel.ids import canonical_uuid
from services.ingest.api.callers import (
    OF_TENANT,
    OWNERS,
    TENANT_HEADER,
    AccessRule,
    Caller,
    CallerKind,
    caller_kind_of,
    check_caller,
)
from services.ingest.domain.body_memory import BodyMemory
from services.ingest.domain.mailbox import accepts_password, is_active, is_username
from services.ingest.domain.pause import is_paused
from services.ingest.domain.problem import Fault, Problem, not_found, unavailable
from services.ingest.domain.rate_limiter import RateLimiter, RateLimitStatus
from services.ingest.domain.verification import may_send, missing_record
from services.ingest.store.directory_cache import DirectoryCache

_STATUSES = {"missing": (401, "missing_api_key"), "restricted": (401, "restricted_api_key")}


class Principal(NamedTuple):
    """An authenticated API key with its tenant, or with the one that the key of an account or an
    operator names. mailbox: of a login by SMTP without an API key; `key` then has its rights, and
    no id. request_id, client: for the audit log. interface: by which it sends."""

    key: ApiKey
    tenant: Tenant
    mailbox: Mailbox | None = None
    request_id: str = ""
    client: str = ""
    interface: Literal["api", "smtp"] = "api"

    @property
    def tenant_id(self) -> str:
        return self.tenant.tenant_id

    @property
    def test(self) -> bool:
        """A test key has no access to live mail."""
        return self.key.test

    @classmethod
    def of(cls, caller: Caller, tenant: Tenant) -> "Principal":
        return cls(caller.key, tenant, None, caller.request_id, caller.client)

    @property
    def caller(self) -> Caller:
        return Caller(self.key, self.tenant, self.request_id, self.client)


class AccessControl:
    """Authenticates every REST and gRPC request. bodies: memory of request bodies."""

    def __init__(
        self,
        directory: DirectoryCache,
        limiter: RateLimiter,
        secrets: SecretKeyring,
        *,
        bodies: BodyMemory,
    ) -> None:
        self.bodies = bodies
        self._directory = directory
        self._limiter = limiter
        self._secrets = secrets
        self._authenticator = ApiKeyAuthenticator(directory.key, directory.fetch_key)

    async def authenticate(
        self,
        authorization: str,
        client: str,
        *,
        rule: AccessRule = OF_TENANT,
        named_tenant: Callable[[], str] = str,
        by_external_id: bool = False,
    ) -> tuple[Principal, RateLimitStatus]:
        """The caller of an operation on a tenant. Raises Problem 401, 403, 404 or 503;
        `raise_if_rate_limited` refuses requests over the limit.

        named_tenant: reads X-Tenant-Id, which keys of tenants do not need. by_external_id: it may
        also be the external_id of a tenant of the account.
        """
        try:
            key = await self._authenticate(authorization, client, rule)
            if key.tenant_id:
                tenant = await self._directory.tenant(key.tenant_id)
            elif by_external_id:
                name = _named_by(key, rule, named_tenant())
                tenant = await self._directory.tenant_named(key.account_id, name)
            else:
                tenant_id = _id_of_tenant(_named_by(key, rule, named_tenant()))
                tenant = await self._directory.tenant(tenant_id)
        except Unavailable as error:
            raise unavailable() from error
        if not key.tenant_id:
            await self._check_named(key, tenant)
        if tenant is None:
            raise Problem(403, "invalid_api_key", detail="The tenant of this API key is closed.")
        return Principal(key, tenant), self._limiter.spend(key.key_id, clock.monotonic_s())

    async def authenticate_caller(
        self, authorization: str, client: str, *, rule: AccessRule, named_tenant: Callable[[], str]
    ) -> tuple[Caller, RateLimitStatus]:
        """The caller of an administrative operation. Raises Problem, like authenticate."""
        try:
            key = await self._authenticate(authorization, client, rule)
        except Unavailable as error:
            raise unavailable() from error
        kind = caller_kind_of(key)
        check_caller(kind, rule)
        named = kind in rule.names_tenant or (rule.may_name_tenant and bool(named_tenant()))
        if kind == CallerKind.TENANT or named:
            principal, status = await self.authenticate(
                authorization, client, rule=rule, named_tenant=named_tenant
            )
            return Caller(key, principal.tenant), status
        if kind == CallerKind.ACCOUNT:
            await self._check_account(key)
        return Caller(key), self._limiter.spend(key.key_id, clock.monotonic_s())

    async def authenticate_mailbox(
        self, username: str, password: str
    ) -> tuple[Principal, RateLimitStatus]:
        """The mailbox that logs in. Raises Problem 403 or 503."""
        hashed, now_s = sha256(password), clock.now().timestamp()
        try:
            mailbox = await self._directory.mailbox(hashed)
            tenant = await self._directory.tenant(mailbox.tenant_id) if mailbox else None
        except Unavailable as error:
            raise unavailable() from error
        if (
            mailbox is None
            or tenant is None
            or not is_username(mailbox, username)
            or not accepts_password(mailbox, hashed, now_s)
        ):
            raise Problem(403, "invalid_mailbox", detail="The username or the password is wrong.")
        if not is_active(mailbox):
            raise Problem(
                403, "mailbox_paused", detail="This mailbox is paused. Activate it first."
            )
        key = ApiKey(
            tenant_id=tenant.tenant_id,
            account_id=tenant.account_id,
            test=mailbox.test,
            scopes=[SENDING_ACCESS],
        )
        status = self._limiter.spend(mailbox.mailbox_id, clock.monotonic_s())
        return Principal(key, tenant, mailbox), status

    async def _authenticate(self, authorization: str, client: str, rule: AccessRule) -> ApiKey:
        """Raises Problem, Unavailable."""
        try:
            return await self._authenticator.authenticate(
                authorization, client=client, now=clock.now(), scope=rule.scope
            )
        except AuthError as error:
            status, name = _STATUSES.get(error.reason, (403, "invalid_api_key"))
            raise Problem(status, name, detail=error.detail) from None

    async def _check_named(self, key: ApiKey, tenant: Tenant | None) -> None:
        """Check that a key can name this tenant. Raises Problem."""
        if key.account_id:
            await self._check_account(key)
        if tenant is None or key.account_id not in {"", tenant.account_id}:
            raise not_found("the tenant")

    async def _check_account(self, key: ApiKey) -> None:
        """Raises Problem."""
        try:
            account = await self._directory.account(key.account_id)
        except Unavailable as error:
            raise unavailable() from error
        if account is None:
            raise Problem(403, "invalid_api_key", detail="The account of this API key is closed.")

    async def principal_of(self, caller: Caller, tenant_id: str | None, what: str) -> Principal:
        """The caller of an operation on something of its account. tenant_id: whose it is; None if
        it does not exist. Raises Problem 404 or 503."""
        try:
            tenant = await self._directory.tenant(tenant_id) if tenant_id else None
        except Unavailable as error:
            raise unavailable() from error
        if tenant is None or not caller.sees(tenant.account_id, tenant.tenant_id):
            raise not_found(what)
        return Principal.of(caller, tenant)

    def check_sending(self, principal: Principal) -> None:
        """Raises Problem 403 for live mail of a suspended account or a paused tenant."""
        if self._directory.stopped and not principal.test:
            check_not_stopped(principal.tenant, self._directory.stopped)

    async def sending_domain_of(self, principal: Principal, name: str, *, test: bool) -> Domain:
        """Return the domain of a From address if this key can send from it. test: to the sandbox,
        which takes mail from domains that are not verified too. Raises Problem."""
        try:
            found = await self._directory.domain(
                principal.tenant_id, principal.tenant.account_id, name=name
            )
        except Unavailable as error:
            raise unavailable() from error
        return _check_domain(principal, found, name, test=test)

    def cached_sending_domain_of(
        self, principal: Principal, name: str, *, test: bool
    ) -> Domain | None:
        """`sending_domain_of` without waiting: None if the domain must be looked up. Raises
        Problem."""
        found = self._directory.cached_domain(
            principal.tenant_id, principal.tenant.account_id, name=name
        )
        if found is None:
            return None
        return _check_domain(principal, found, name, test=test)

    def content_key(self, principal: Principal) -> bytes:
        return self._secrets.decrypt(principal.tenant.content_key)


def _check_domain(principal: Principal, found: Domain | None, name: str, *, test: bool) -> Domain:
    """Raises Problem."""
    bound = principal.key.domain_id
    if found is None or (bound and bound != found.domain_id):
        who = "This API key" if principal.mailbox is None else "This mailbox"
        detail = f"{who} cannot send from {name}: it is not one of your domains. Add the domain."
        fault = Fault("#/from", "invalid_from_address", detail)
        raise Problem(403, "invalid_from_address", detail=detail, faults=[fault])
    if not test and not may_send(found):
        raise _not_verified(found)
    return found


def _not_verified(domain: Domain) -> Problem:
    """The detail names the record to publish."""
    reason = "has been paused: its DKIM records are gone" if domain.paused else "is not verified"
    detail = (
        f"The domain {domain.name} {reason}. DNS lacks {missing_record(domain)}. Publish it, then "
        f"POST /v1/domains/{domain.domain_id}/verify. Test mail can be sent without it."
    )
    fault = Fault("#/from", "invalid_from_address", detail)
    return Problem(403, "invalid_from_address", detail=detail, faults=[fault])


def _named_by(key: ApiKey, rule: AccessRule, name: str) -> str:
    """The tenant that a key of an account or an operator names. Raises Problem."""
    check_caller(caller_kind_of(key), rule)
    if not name:
        detail = (
            f"This is the key of {OWNERS[caller_kind_of(key)]}. Name a tenant by {TENANT_HEADER}."
        )
        fault = Fault("", "missing_required_field", detail)
        raise Problem(422, "missing_required_field", detail=detail, faults=[fault])
    return name


def _id_of_tenant(name: str) -> str:
    """Raises Problem."""
    try:
        return canonical_uuid(name)
    except ValueError:
        raise not_found("the tenant") from None


def check_not_stopped(tenant: Tenant, stopped: Container[str]) -> None:
    """stopped: ids of suspended accounts and paused tenants. Raises Problem 403."""
    if tenant.account_id in stopped:
        detail = "This account is suspended: it cannot send live mail. Contact the operator."
        raise Problem(403, "account_suspended", detail=detail)
    if is_paused(tenant, clock.now().timestamp()):
        reason = f" ({tenant.pause.reason})" if tenant.pause.reason else ""
        detail = f"This tenant is paused{reason}: it cannot send live mail. Resume it first."
        raise Problem(403, "tenant_paused", detail=detail)


def raise_if_rate_limited(rate_limit: RateLimitStatus) -> None:
    """Raises Problem 429 when the request is over the rate limit."""
    if rate_limit.retry_after_s:
        raise Problem(
            429,
            "rate_limit_exceeded",
            detail=f"More than {rate_limit.limit} requests in a second. Wait, then retry.",
            retry_after_s=rate_limit.retry_after_s,
        )
