"""Where an email stands, in the one word that Resend's clients know, from all its recipients.

The same word is in lists, where events has worked it out: the furthest that any recipient has come.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SCHEDULED, SENT, HELD, DELAYED = "scheduled", "sent", "held", "delivery_delayed"
CANCELLED, CANCELED = "cancelled", "canceled"  # ours, and Resend's
# How far an email has come; the last of these that is known wins.
COURSE = (
    "unknown", "queued", SCHEDULED, SENT, HELD, DELAYED, "delivered", CANCELED, "suppressed",
    "failed", "bounced", "complained",
)  # fmt: skip
WORDS = {"assigned": SENT, "held": HELD, CANCELLED: CANCELED}


@dataclass(frozen=True, slots=True)
class State:
    """Of one recipient. state: the router's word for it; empty when it could not be asked."""

    state: str
    tries: int = 0


def last_event(states: Sequence[State], *, scheduled: bool, logged: str = "") -> str:
    """scheduled: it was accepted for later. logged: the word of the log, which knows complaints
    too; empty when it does not know the email yet, or could not be asked."""
    words = [SCHEDULED if scheduled else SENT, *map(_word, states), logged]
    return max(words, key=_course)


def _word(one: State) -> str:
    """Empty while nothing has happened that the email's acceptance does not say."""
    if one.state in WORDS:
        return WORDS[one.state]
    if one.state in COURSE:
        return one.state
    return DELAYED if one.tries else ""


def _course(word: str) -> int:
    return COURSE.index(word) if word in COURSE else -1
