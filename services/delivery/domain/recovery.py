"""Decides about orphans: open attempts whose worker has expired, or no longer has them."""

from services.delivery.domain.attempt_result import END_OF_DATA, STALE, AttemptResult

WORKER_LOST = "the worker ended between end of data and the reply"


def decide_after_expiry(stage: str, *, left_s: float) -> AttemptResult | None:
    """The result of an expired worker's attempt; None: it was not sent, and can still be made."""
    if stage == "data_sent":
        return AttemptResult(END_OF_DATA, problem=WORKER_LOST)  # ambiguous
    return None if left_s > 0 else STALE


def decide_overdue(stage: str) -> AttemptResult:
    """The result of an overdue attempt that its worker no longer has in memory."""
    return AttemptResult(END_OF_DATA, problem=WORKER_LOST) if stage == "data_sent" else STALE
