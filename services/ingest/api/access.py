"""Authentication, permissions and rate limits of API keys."""

from typing import NamedTuple

from contracts.ingest.v1.directory_pb2 import ApiKey, Domain, Tenant
from kernel import auth, clock
from kernel.auth import Authenticator, AuthError
from kernel.crypto import SecretKeyring
from kernel.errors import Unavailable
from services.ingest.domain.bodies import BodyMemory
from services.ingest.domain.limits import RateLimiter, RateLimitStatus
from services.ingest.domain.problem import Fault, Problem, unavailable
from services.ingest.domain.verification import may_send, missing_record
from services.ingest.store.directory_cache import DirectoryCache

_STATUSES = {"missing": (401, "missing_api_key"), "restricted": (401, "restricted_api_key")}


class Principal(NamedTuple):
    """An authenticated API key with its tenant."""

    key: ApiKey
    tenant: Tenant

    @property
    def tenant_id(self) -> str:
        return self.key.tenant_id

    @property
    def test(self) -> bool:
        """A test key has no access to live mail."""
        return self.key.test

    def check_live(self, what: str) -> None:
        """Raises Problem if this is a test key, because only live mail has `what`."""
        if self.test:
            detail = f"A test key has no {what}. Use a live key."
            raise Problem(403, "restricted_api_key", detail=detail)


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
        self._authenticator = Authenticator(directory.key, directory.fetch_key)

    async def authenticate(
        self, authorization: str, client: str, *, scope: str = auth.FULL_ACCESS
    ) -> tuple[Principal, RateLimitStatus]:
        """Raises Problem 401, 403 or 503. `enforce_rate_limit` refuses requests over the limit."""
        try:
            key = await self._authenticator.authenticate(
                authorization, client=client, now=clock.now(), scope=scope
            )
            tenant = await self._directory.tenant(key.tenant_id)
        except AuthError as error:
            status, name = _STATUSES.get(error.reason, (403, "invalid_api_key"))
            raise Problem(status, name, detail=error.detail) from None
        except Unavailable as error:
            raise unavailable() from error
        if tenant is None:
            raise Problem(403, "invalid_api_key", detail="The tenant of this API key is closed.")
        return Principal(key, tenant), self._limiter.spend(key.key_id, clock.monotonic_s())

    async def domain_of(self, principal: Principal, name: str, *, test: bool) -> Domain:
        """Return the domain of a From address if this key can send from it. test: to the sandbox,
        which takes mail from domains that are not verified too. Raises Problem."""
        try:
            found = await self._directory.domain(
                principal.tenant_id, principal.tenant.account_id, name=name
            )
        except Unavailable as error:
            raise unavailable() from error
        bound = principal.key.domain_id
        if found is None or (bound and bound != found.domain_id):
            detail = (
                f"This API key cannot send from {name}: it is not one of your domains. "
                "Add the domain."
            )
            fault = Fault("#/from", "invalid_from_address", detail)
            raise Problem(403, "invalid_from_address", detail=detail, faults=[fault])
        if not test and not may_send(found):
            raise _not_verified(found)
        return found

    def content_key(self, principal: Principal) -> bytes:
        return self._secrets.decrypt(principal.tenant.content_key)


def _not_verified(domain: Domain) -> Problem:
    """The detail names the record to publish."""
    reason = "has been paused: its DKIM records are gone" if domain.paused else "is not verified"
    detail = (
        f"The domain {domain.name} {reason}. DNS lacks {missing_record(domain)}. Publish it, then "
        f"POST /v1/domains/{domain.domain_id}/verify. Test mail can be sent without it."
    )
    fault = Fault("#/from", "invalid_from_address", detail)
    return Problem(403, "invalid_from_address", detail=detail, faults=[fault])


def enforce_rate_limit(rate_limit: RateLimitStatus) -> None:
    """Raises Problem 429 when the request is over the rate limit."""
    if rate_limit.retry_after_s:
        raise Problem(
            429,
            "rate_limit_exceeded",
            detail=f"More than {rate_limit.limit} requests in a second. Wait, then retry.",
            retry_after_s=rate_limit.retry_after_s,
        )
