"""The status of an email, in the terms of Resend's clients, from the states of its recipients.

Lists show the same status, computed by events: the furthest one that any recipient has reached,
but for opened and clicked, which only the email itself shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SCHEDULED, SENT, HELD, DELAYED = "scheduled", "sent", "held", "delivery_delayed"
QUEUED, CANCELED, OPENED, CLICKED = "queued", "canceled", "opened", "clicked"
# In order of progress; the last known one wins.
PROGRESS = (
    "unknown", "queued", SCHEDULED, SENT, HELD, DELAYED, "delivered", OPENED, CLICKED, CANCELED,
    "suppressed", "failed", "bounced", "complained",
)  # fmt: skip
LAST_EVENTS = {"assigned": SENT, "held": HELD}


@dataclass(frozen=True, slots=True)
class RecipientState:
    """The state of one recipient. state: the router's; empty if the router did not respond."""

    state: str
    attempt_count: int = 0


def last_event(
    states: Sequence[RecipientState], *, scheduled: bool, logged: Sequence[str] = ()
) -> str:
    """scheduled: accepted with a later due time. logged: events in the log, which also has
    complaints, opens and clicks; empty if the log lacks the email or did not respond."""
    names = [SCHEDULED if scheduled else SENT, *map(_last_event, states), *logged]
    return max(names, key=_rank)


def _last_event(one: RecipientState) -> str:
    """Empty if nothing has happened since the email was accepted."""
    if one.state in LAST_EVENTS:
        return LAST_EVENTS[one.state]
    if one.state in PROGRESS and one.state != "queued":
        return one.state
    return DELAYED if one.attempt_count else ""


def _rank(name: str) -> int:
    return PROGRESS.index(name) if name in PROGRESS else -1
