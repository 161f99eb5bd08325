"""What a request did wrong, in words that its sender can act on."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong. pointer: where in the body (RFC 6901), empty for the whole."""

    pointer: str
    code: str
    detail: str


class Problem(Exception):
    """A refusal: HTTP status, a name for machines, a detail for people (RFC 9457)."""

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
    """422: what is wrong first is said first."""
    first = faults[0]
    missing = first.code == "missing_required_field"
    name = first.code if missing or first.code == "invalid_attachment" else "validation_error"
    return Problem(422, name, detail=first.detail, faults=faults)


def not_found(what: str) -> Problem:
    """Of another tenant, or of nobody: the same words."""
    return Problem(404, "not_found", detail=f"{what} not found")


def storage_full() -> Problem:
    return Problem(
        429,
        "storage_quota_exceeded",
        detail="this tenant has as much mail stored as it may: nothing was accepted; room comes "
        "back each day, as bodies are kept until some days after their mail has ended",
        retry_after_s=3600,
    )


def unavailable(what: str) -> Problem:
    return Problem(
        503,
        "service_unavailable",
        detail=f"{what}: try again",
        retry_after_s=2,
    )
