"""What becomes of an attempt whose worker is gone."""

from services.delivery.domain.attempt_result import END_OF_DATA, STALE, AttemptResult

GONE = "the worker ended between end of data and its answer"


def decide(stage: str, *, left_s: float) -> AttemptResult | None:
    """None: it was never sent, and there is time: send it. Else how it ends."""
    if stage == "data_sent":
        return AttemptResult(END_OF_DATA, problem=GONE)  # ambiguous
    return None if left_s > 0 else STALE


def decide_orphan(stage: str) -> AttemptResult:
    """Ours by the journal, but in no memory, and too late."""
    return AttemptResult(END_OF_DATA, problem=GONE) if stage == "data_sent" else STALE
