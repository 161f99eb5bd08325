"""Where an email stands, in the one word that Resend's clients know, from all its recipients.

The same word is in lists, where events has worked it out: the furthest that any recipient has come.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SCHEDULED, SENT, HELD, DELAYED = "scheduled", "sent", "held", "delivery_delayed"
QUEUED, CANCELED = "queued", "canceled"
# How far an email has come; the last of these that is known wins.
PROGRESS = (
    "unknown", "queued", SCHEDULED, SENT, HELD, DELAYED, "delivered", CANCELED, "suppressed",
    "failed", "bounced", "complained",
)  # fmt: skip
LAST_EVENTS = {"assigned": SENT, "held": HELD}


@dataclass(frozen=True, slots=True)
class RecipientState:
    """Of one recipient. state: the router's word for it; empty when it could not be asked."""

    state: str
    attempt_count: int = 0


def last_event(states: Sequence[RecipientState], *, scheduled: bool, logged: str = "") -> str:
    """scheduled: it was accepted for later. logged: the word of the log, which knows complaints
    too; empty when it does not know the email yet, or could not be asked."""
    names = [SCHEDULED if scheduled else SENT, *map(_last_event, states), logged]
    return max(names, key=_rank)


def _last_event(one: RecipientState) -> str:
    """Empty while nothing has happened that the email's acceptance does not say."""
    if one.state in LAST_EVENTS:
        return LAST_EVENTS[one.state]
    if one.state in PROGRESS and one.state != "queued":
        return one.state
    return DELAYED if one.attempt_count else ""


def _rank(name: str) -> int:
    return PROGRESS.index(name) if name in PROGRESS else -1
