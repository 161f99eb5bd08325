"""The rank of an email: the highest of its messages."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from services.events.domain.log_event import LogEvent
from services.events.domain.state import STEP, MessageState, merge_rank


def ranks_of(log_events: Iterable[LogEvent]) -> dict[str, int]:
    """The rank of each email by these events alone: the highest rank of its messages."""
    messages: dict[tuple[str, str], int] = defaultdict(int)
    for log_event in sorted(log_events, key=STEP):
        key = log_event.email_id, log_event.subject_id
        messages[key] = merge_rank(messages[key], log_event)
    ranks: dict[str, int] = defaultdict(int)
    for (email_id, _), rank in messages.items():
        ranks[email_id] = max(ranks[email_id], rank)
    return ranks


def raised_ranks(
    states: Iterable[MessageState], new: Collection[str], *, inserted: Mapping[str, int]
) -> dict[tuple[str, str], int]:
    """The ranks to which emails may be raised, except those that were just inserted with them."""
    ranks: dict[tuple[str, str], int] = defaultdict(int)
    for state in states:
        if state.email_id not in new or state.rank > inserted[state.email_id]:
            key = (state.tenant_id, state.email_id)
            ranks[key] = max(ranks[key], state.rank)
    return ranks
