"""Webhook endpoints: the events they subscribe to, and the addresses that may be called."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mail.reachable import Network, url_problem


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """owner_id: of its tenant, or of its account if it is account_wide: then it receives the events
    of the account and of all its tenants, or only those of tenant_ids. secret, previous_secret:
    encrypted; both sign during a rotation. failures: since the last success. test: for test mail
    only. domain_ids, tags, streams: only events of such mail; empty for all. svix_headers: requests
    have the signature under Svix's names too. headers: encrypted, of requests."""

    id: str
    owner_id: str
    url: str
    secret: bytes
    event_types: Sequence[str] = ()
    failures: int = 0
    test: bool = False
    account_wide: bool = False
    tenant_ids: Sequence[str] = ()
    previous_secret: bytes | None = None
    domain_ids: Sequence[str] = ()
    tags: Sequence[str] = ()
    streams: Sequence[str] = ()
    svix_headers: bool = False
    headers: bytes | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether more than the type of an event decides."""
        return bool(self.domain_ids or self.tags or self.streams)

    @property
    def secrets(self) -> list[bytes]:
        """Encrypted, the current one first."""
        return (
            [self.secret] if self.previous_secret is None else [self.secret, self.previous_secret]
        )

    def owners_among(self, tenants: Collection[str]) -> Collection[str]:
        """Whose events it receives. tenants: of its account."""
        if not self.account_wide:
            return [self.owner_id]
        if self.tenant_ids:
            return {*self.tenant_ids} & {*tenants}
        return {self.owner_id, *tenants}


def endpoints_by_owner(
    endpoints: Iterable[WebhookEndpoint], accounts: Mapping[str, str]
) -> dict[str, list[WebhookEndpoint]]:
    """The endpoints of each tenant and account. accounts: those of tenants."""
    tenants: dict[str, list[str]] = defaultdict(list)
    for tenant_id, account_id in accounts.items():
        tenants[account_id].append(tenant_id)
    found: dict[str, list[WebhookEndpoint]] = defaultdict(list)
    for endpoint in endpoints:
        for owner_id in endpoint.owners_among(tenants[endpoint.owner_id]):
            found[owner_id].append(endpoint)
    return found


def subscribes_to(event_types: Collection[str], name: str) -> bool:
    """Whether an endpoint receives events of this type; an empty filter means all."""
    return not event_types or name in event_types


def endpoint_problem(url: str, allowed: tuple[Network, ...]) -> str:
    """The reason why a URL cannot be an endpoint; empty if it can."""
    problem = url_problem(url, allowed)
    return f"endpoint {problem}" if problem else ""
