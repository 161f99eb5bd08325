"""Who may call an operation: the kinds of callers, and the rule that each operation declares."""

from enum import StrEnum
from typing import NamedTuple

from contracts.ingest.v1.directory_pb2 import ApiKey, ApiKeyKind, Tenant
from kernel import auth
from services.ingest.domain.problem import Problem
from services.ingest.store.audit_log import AuditActor
from services.ingest.store.directory_lists import EntryOwner


class CallerKind(StrEnum):
    """Whose key a request has."""

    OPERATOR = "operator"
    ACCOUNT = "account"
    TENANT = "tenant"


KINDS = {
    ApiKeyKind.API_KEY_KIND_UNSPECIFIED: CallerKind.TENANT,
    ApiKeyKind.API_KEY_KIND_TENANT: CallerKind.TENANT,
    ApiKeyKind.API_KEY_KIND_ACCOUNT: CallerKind.ACCOUNT,
    ApiKeyKind.API_KEY_KIND_OPERATOR: CallerKind.OPERATOR,
}
OWNERS = {
    CallerKind.OPERATOR: "an operator",
    CallerKind.ACCOUNT: "an account",
    CallerKind.TENANT: "a tenant",
}
TENANT_HEADER = "X-Tenant-Id"


class AccessRule(NamedTuple):
    """Who may call an operation, with which scope.

    names_tenant: the kinds of callers for whom the operation concerns one tenant, which they name
    by X-Tenant-Id. A key of a tenant does not need to.
    may_name_tenant: the others may name one, to restrict the operation to that tenant.
    """

    callers: tuple[CallerKind, ...]
    scope: str = auth.FULL_ACCESS
    names_tenant: tuple[CallerKind, ...] = ()
    may_name_tenant: bool = False


OF_TENANT = AccessRule((CallerKind.TENANT, CallerKind.ACCOUNT), names_tenant=(CallerKind.ACCOUNT,))
SPANNING = AccessRule((CallerKind.TENANT, CallerKind.ACCOUNT), may_name_tenant=True)
SENDING = OF_TENANT._replace(scope=auth.SENDING_ACCESS)
NAMING_TENANT = AccessRule(
    tuple(CallerKind), names_tenant=(CallerKind.ACCOUNT, CallerKind.OPERATOR)
)
SPANNING_UNLESS_OPERATOR = SPANNING._replace(
    callers=tuple(CallerKind), names_tenant=(CallerKind.OPERATOR,)
)
OF_OPERATOR = AccessRule((CallerKind.OPERATOR,))
OF_ACCOUNT = AccessRule((CallerKind.OPERATOR, CallerKind.ACCOUNT))
OF_ANYBODY = AccessRule(tuple(CallerKind), may_name_tenant=True)
ANY_KEY = OF_ANYBODY._replace(scope=auth.SENDING_ACCESS)


class Caller(NamedTuple):
    """An authenticated key. tenant: of a tenant key, or named by an account key."""

    key: ApiKey
    tenant: Tenant | None = None
    request_id: str = ""
    client: str = ""

    @property
    def kind(self) -> CallerKind:
        return caller_kind_of(self.key)

    @property
    def account_id(self) -> str:
        """Empty for an operator."""
        return self.key.account_id

    @property
    def tenant_id(self) -> str:
        """Empty if the caller acts for a whole account, or as the operator."""
        return self.tenant.tenant_id if self.tenant is not None else ""

    @property
    def owner(self) -> EntryOwner:
        """Whose entries the caller sees."""
        return EntryOwner(self.account_id, self.tenant_id)

    @property
    def test(self) -> bool:
        """A test key has no access to live mail."""
        return self.key.test

    @property
    def actor(self) -> AuditActor:
        return AuditActor(self.kind.value, self.key.key_id, self.request_id, self.client)

    def sees(self, account_id: str, tenant_id: str = "") -> bool:
        """Whether an entry of this account and tenant is the caller's."""
        if self.tenant_id:
            return tenant_id == self.tenant_id
        return self.kind == CallerKind.OPERATOR or account_id == self.account_id


def check_live(key: ApiKey, what: str) -> None:
    """Raises Problem if this is a test key, because only live mail has `what`."""
    if key.test:
        detail = f"A test key has no {what}. Use a live key."
        raise Problem(403, "restricted_api_key", detail=detail)


def caller_kind_of(key: ApiKey) -> CallerKind:
    """A kind that only a later version knows may do nothing. Raises Problem."""
    if (kind := KINDS.get(key.kind)) is None:
        raise Problem(403, "restricted_api_key", detail="This kind of API key is unknown here.")
    return kind


def check_caller(kind: CallerKind, rule: AccessRule) -> None:
    """Raises Problem 403 unless the rule admits this kind of caller."""
    if kind in rule.callers:
        return
    admitted = " or ".join(OWNERS[one] for one in rule.callers)
    detail = f"This is the key of {OWNERS[kind]}. Use the key of {admitted}."
    raise Problem(403, "restricted_api_key", detail=detail)
