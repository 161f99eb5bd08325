"""A request with an Idempotency-Key: what it is known by, and what its repeat is answered."""

from dataclasses import dataclass
from typing import NamedTuple

from services.ingest.domain.problem import Problem
from services.ingest.store.acceptance import IdempotencyRecord


@dataclass(frozen=True, slots=True)
class Idempotency:
    """key: what the client sent. route: method and path, or RPC. fingerprint: of the request."""

    key: str
    route: str
    fingerprint: bytes


class AcceptResult(NamedTuple):
    """response: the body of the response, now or when the key was first used."""

    response: bytes
    replayed: bool = False


def replay(given: IdempotencyRecord, stored: IdempotencyRecord) -> AcceptResult | Problem:
    if given.fingerprint == stored.fingerprint:
        return AcceptResult(stored.response, replayed=True)
    return Problem(
        409,
        "invalid_idempotent_request",
        detail="this Idempotency-Key was used with another request: use a new key",
    )


def concurrent_request() -> Problem:
    return Problem(
        409,
        "concurrent_idempotent_requests",
        detail="a request with this Idempotency-Key is being handled: try again",
        retry_after_s=1,
    )
