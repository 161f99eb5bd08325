"""Webhook endpoints: which events they want, and which addresses may be called."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mail.reachable import Network, url_problem


@dataclass(frozen=True, slots=True)
class Endpoint:
    """secret: encrypted. failures: tries since the last success. test: told of test mail alone."""

    id: str
    tenant_id: str
    url: str
    secret: bytes
    event_types: Sequence[str] = ()
    failures: int = 0
    test: bool = False


def wants(event_types: Collection[str], name: str) -> bool:
    """Whether an endpoint is told of events of this type; an empty filter means all."""
    return not event_types or name in event_types


def problem_of(url: str, allowed: tuple[Network, ...]) -> str:
    """Why a URL cannot be an endpoint; empty when it can."""
    problem = url_problem(url, allowed)
    return f"endpoint {problem}" if problem else ""
