"""Errors of a request. Each text says what is wrong, then what to do."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One error. pointer: its place in the body (RFC 6901), empty for the whole body."""

    pointer: str
    code: str
    detail: str


class Problem(Exception):
    """A refusal: HTTP status, a name for programs, a detail for people (RFC 9457)."""

    def __init__(
        self,
        status: int,
        name: str,
        *,
        detail: str,
        faults: Sequence[Fault] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.detail = detail
        self.faults = tuple(faults)
        self.retry_after_s = retry_after_s


def invalid(faults: Sequence[Fault]) -> Problem:
    """422 with the name and detail of the first fault."""
    first = faults[0]
    missing = first.code == "missing_required_field"
    name = first.code if missing or first.code == "invalid_attachment" else "validation_error"
    return Problem(422, name, detail=first.detail, faults=faults)


def not_found(what: str) -> Problem:
    """404, the same for objects of other tenants and for objects that do not exist."""
    return Problem(404, "not_found", detail=f"{what[:1].upper()}{what[1:]} was not found.")


def storage_full() -> Problem:
    return Problem(
        429,
        "storage_quota_exceeded",
        detail="The stored content of this tenant has reached its limit; nothing was "
        "accepted. Capacity is freed every day, as content expires some days "
        "after its messages have closed. Retry later.",
        retry_after_s=3600,
    )


def unavailable(reason: str = "The service is temporarily unavailable.") -> Problem:
    return Problem(
        503,
        "service_unavailable",
        detail=f"{reason} Retry the request.",
        retry_after_s=2,
    )
