from datetime import UTC, datetime, timedelta

import pytest

from services.ingest.domain.status import State, last_event

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def state(word: str, *, tries: int = 0, due_at: datetime | None = None) -> State:
    return State(word, tries, due_at)


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ([], "queued"),
        ([state("")], "queued"),
        ([state("", due_at=LATER)], "scheduled"),
        ([state("expected", due_at=LATER)], "scheduled"),
        ([state("held")], "queued"),
        ([state("assigned")], "sent"),
        ([state("waiting", tries=1, due_at=LATER)], "delivery_delayed"),
        ([state("cancelled")], "canceled"),
        ([state("delivered"), state("delivered")], "delivered"),
        ([state("delivered"), state("bounced")], "bounced"),
        ([state("bounced"), state("assigned")], "sent"),
    ],
)
def test_an_email_stands_where_its_last_recipient_does(states: list[State], word: str) -> None:
    assert last_event(states, now=NOW) == word
