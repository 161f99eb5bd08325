"""Who calls, whether it may, and how often."""

from typing import NamedTuple

from contracts.ingest.v1.directory_pb2 import ApiKey, Domain, Tenant
from kernel import auth, clock
from kernel.auth import Authenticator, Denied
from kernel.crypto import Secrets
from kernel.errors import Unavailable
from services.ingest.domain.bodies import Bodies
from services.ingest.domain.limits import Limiter, Quota
from services.ingest.domain.problem import Fault, Problem, unavailable
from services.ingest.store.known import Directory

_DENIED = {"missing": (401, "missing_api_key"), "restricted": (401, "restricted_api_key")}


class Caller(NamedTuple):
    """A credential that may do what it asks for."""

    key: ApiKey
    tenant: Tenant

    @property
    def tenant_id(self) -> str:
        return self.key.tenant_id

    @property
    def test(self) -> bool:
        """Of a test key: what is live is not there for it."""
        return self.key.test

    def check_live(self, what: str) -> None:
        """Raises Problem where a test key asks for what only live mail has."""
        if self.test:
            detail = f"{what} belong to live mail: use a live key"
            raise Problem(403, "restricted_api_key", detail=detail)


class Gate:
    """Every door asks here first, REST and gRPC alike. bodies: what requests may hold of memory."""

    def __init__(
        self, directory: Directory, limiter: Limiter, secrets: Secrets, *, bodies: Bodies
    ) -> None:
        self.bodies = bodies
        self._directory = directory
        self._limiter = limiter
        self._secrets = secrets
        self._authenticator = Authenticator(directory.key, directory.fetch_key)

    async def admit(
        self, authorization: str, client: str, *, scope: str = auth.FULL_ACCESS
    ) -> tuple[Caller, Quota]:
        """Raises Problem: 401, 403, 503. `within` refuses what is too much."""
        try:
            key = await self._authenticator.check(
                authorization, client=client, now=clock.now(), scope=scope
            )
            tenant = await self._directory.tenant(key.tenant_id)
        except Denied as error:
            status, name = _DENIED.get(error.reason, (403, "invalid_api_key"))
            raise Problem(status, name, detail=error.detail) from None
        except Unavailable as error:
            raise unavailable(str(error)) from error
        if tenant is None:
            raise Problem(403, "invalid_api_key", detail="the tenant of this API key is closed")
        return Caller(key, tenant), self._limiter.take(key.key_id, clock.monotonic_s())

    async def domain_of(self, caller: Caller, name: str) -> Domain:
        """The From domain, if this key may send from it. Raises Problem."""
        try:
            found = await self._directory.domain(
                caller.tenant_id, caller.tenant.account_id, name=name
            )
        except Unavailable as error:
            raise unavailable(str(error)) from error
        bound = caller.key.domain_id
        if found is None or (bound and bound != found.domain_id):
            detail = f"this API key may not send from {name}: it is not a domain of yours"
            fault = Fault("#/from", "invalid_from_address", detail)
            raise Problem(403, "invalid_from_address", detail=detail, faults=[fault])
        return found

    def content_key(self, caller: Caller) -> bytes:
        return self._secrets.decrypt(caller.tenant.content_key)


def within(quota: Quota) -> None:
    """Raises Problem when this was one request too many."""
    if quota.retry_after_s:
        raise Problem(
            429,
            "rate_limit_exceeded",
            detail=f"more than {quota.limit} requests in a second: wait, then try again",
            retry_after_s=quota.retry_after_s,
        )
