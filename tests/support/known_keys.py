"""Access control with a key of each kind and scope, and without a database."""

from typing import Any, cast

from contracts.ingest.v1.directory_pb2 import Account, ApiKey, ApiKeyKind, Tenant
from kernel import auth
from services.ingest.api.access import AccessControl
from services.ingest.domain.body_memory import BodyMemory
from services.ingest.domain.rate_limiter import RateLimiter

MINE = "019ab000-0000-7000-8000-00000000000a"
OTHER = "019ab000-0000-7000-8000-00000000000b"
KINDS = {"operator": 3, "account": 2, "tenant": 1}
SCOPES = ("full_access", "sending_access", "none")
TENANTS = {one: Tenant(tenant_id=one, account_id=one) for one in (MINE, OTHER)}


class KnownKeys:
    """A directory with a key of each kind and scope, and two accounts with a tenant each."""

    stopped: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.secrets: dict[tuple[str, str], str] = {}
        self._keys: dict[bytes, ApiKey] = {}
        for kind, number in KINDS.items():
            for scope in SCOPES:
                secret = self.secrets[kind, scope] = auth.generate_key(test=False, brand="obm")
                self._keys[auth.digest(secret)] = ApiKey(
                    key_id=secret[-8:],
                    kind=ApiKeyKind.ValueType(number),
                    scopes=[scope],
                    account_id=MINE if kind != "operator" else "",
                    tenant_id=MINE if kind == "tenant" else "",
                )

    def key(self, digest: bytes) -> ApiKey | None:
        return self._keys.get(digest)

    async def fetch_key(self, digest: bytes) -> ApiKey | None:
        return self._keys.get(digest)

    async def tenant(self, tenant_id: str) -> Tenant | None:
        return TENANTS.get(tenant_id)

    async def tenant_named(self, account_id: str, name: str) -> Tenant | None:
        """The external_id of the tenant of an account is `shop`."""
        own = TENANTS.get(account_id)
        return own if own is not None and name in {own.tenant_id, "shop"} else None

    async def account(self, account_id: str) -> Account:
        return Account(account_id=account_id)


KEYS = KnownKeys()
ACCESS = AccessControl(
    cast(Any, KEYS), RateLimiter(10_000), cast(Any, None), bodies=BodyMemory(1024**3)
)
