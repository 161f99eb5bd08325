"""What becomes of an attempt whose worker is gone."""

from services.delivery.domain.ending import DOT, STALE, Ending

GONE = "the worker ended between the final dot and its answer"


def settle(stage: str, *, left_s: float) -> Ending | None:
    """None: it was never sent, and there is time: send it. Else how it ends."""
    if stage == "data_sent":
        return Ending(DOT, problem=GONE)  # ambiguous
    return None if left_s > 0 else STALE


def orphaned(stage: str) -> Ending:
    """Ours by the journal, but in no memory, and too late."""
    return Ending(DOT, problem=GONE) if stage == "data_sent" else STALE
