"""Webhook endpoints: the events they subscribe to, and the addresses that may be called."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mail.reachable import Network, url_problem


@dataclass(frozen=True, slots=True)
class Endpoint:
    """secret: encrypted. failures: since the last success. test: for test mail only."""

    id: str
    tenant_id: str
    url: str
    secret: bytes
    event_types: Sequence[str] = ()
    failures: int = 0
    test: bool = False


def subscribes_to(event_types: Collection[str], name: str) -> bool:
    """Whether an endpoint receives events of this type; an empty filter means all."""
    return not event_types or name in event_types


def endpoint_problem(url: str, allowed: tuple[Network, ...]) -> str:
    """The reason why a URL cannot be an endpoint; empty if it can."""
    problem = url_problem(url, allowed)
    return f"endpoint {problem}" if problem else ""
