"""Repeated requests: idempotency keys, and the responses that repeats receive."""

from dataclasses import dataclass
from typing import NamedTuple

from services.ingest.domain.problem import Problem
from services.ingest.store.acceptance import IdempotencyRecord


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """key: sent by the client. route: method and path, or RPC name. fingerprint: hash of the
    request."""

    key: str
    route: str
    fingerprint: bytes


class AcceptResult(NamedTuple):
    """response: the body, new or stored when the key was first used."""

    response: bytes
    replayed: bool = False


def replay(given: IdempotencyRecord, stored: IdempotencyRecord) -> AcceptResult | Problem:
    if given.fingerprint == stored.fingerprint:
        return AcceptResult(stored.response, replayed=True)
    return Problem(
        409,
        "invalid_idempotent_request",
        detail="This Idempotency-Key was used with a different request. Use a new key.",
    )


def concurrent_request() -> Problem:
    return Problem(
        409,
        "concurrent_idempotent_requests",
        detail="A request with this Idempotency-Key is in progress. Retry the request.",
        retry_after_s=1,
    )
