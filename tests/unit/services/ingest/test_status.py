"""One word for an email, the same whoever is asked."""

import pytest

from services.events.api.emails import LAST_EVENTS
from services.events.domain.facts import Rank
from services.ingest.domain.status import COURSE, State, last_event


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ([], "sent"),
        ([State("")], "sent"),
        ([State("waiting")], "sent"),  # for DNS, say
        ([State("held")], "held"),
        ([State("assigned")], "sent"),
        ([State("waiting", 1)], "delivery_delayed"),
        ([State("cancelled")], "canceled"),
        ([State("delivered"), State("delivered")], "delivered"),
        ([State("delivered"), State("bounced")], "bounced"),
        ([State("delivered"), State("assigned")], "delivered"),
    ],
)
def test_an_email_stands_where_its_furthest_recipient_does(states: list[State], word: str) -> None:
    assert last_event(states, scheduled=False) == word


def test_what_was_accepted_for_later_is_scheduled_until_it_leaves() -> None:
    assert last_event([State("expected")], scheduled=True) == "scheduled"
    assert last_event([State("waiting")], scheduled=True) == "scheduled"
    assert last_event([State("assigned")], scheduled=True) == "sent"


def test_a_complaint_is_known_from_the_log() -> None:
    assert last_event([State("delivered")], scheduled=False, logged="complained") == "complained"


def test_a_log_that_is_late_holds_nothing_back() -> None:
    assert last_event([State("delivered")], scheduled=False, logged="sent") == "delivered"


def test_lists_and_single_emails_speak_of_the_same_course() -> None:
    assert [LAST_EVENTS[rank] for rank in sorted(Rank)] == list(COURSE)
