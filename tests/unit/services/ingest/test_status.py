"""One word for an email, the same whoever is asked."""

import pytest

from services.events.api.emails import LAST_EVENTS
from services.events.domain.log_event import StatusRank
from services.ingest.domain.status import PROGRESS, RecipientState, last_event


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ([], "sent"),
        ([RecipientState("")], "sent"),
        ([RecipientState("queued")], "sent"),  # for DNS, say
        ([RecipientState("held")], "held"),
        ([RecipientState("assigned")], "sent"),
        ([RecipientState("queued", 1)], "delivery_delayed"),
        ([RecipientState("canceled")], "canceled"),
        ([RecipientState("delivered"), RecipientState("delivered")], "delivered"),
        ([RecipientState("delivered"), RecipientState("bounced")], "bounced"),
        ([RecipientState("delivered"), RecipientState("assigned")], "delivered"),
    ],
)
def test_an_email_stands_where_its_furthest_recipient_does(
    states: list[RecipientState], word: str
) -> None:
    assert last_event(states, scheduled=False) == word


def test_what_was_accepted_for_later_is_scheduled_until_it_leaves() -> None:
    assert last_event([RecipientState("expected")], scheduled=True) == "scheduled"
    assert last_event([RecipientState("queued")], scheduled=True) == "scheduled"
    assert last_event([RecipientState("assigned")], scheduled=True) == "sent"


def test_a_complaint_is_known_from_the_log() -> None:
    assert (
        last_event([RecipientState("delivered")], scheduled=False, logged="complained")
        == "complained"
    )


def test_a_log_that_is_late_holds_nothing_back() -> None:
    assert last_event([RecipientState("delivered")], scheduled=False, logged="sent") == "delivered"


def test_lists_and_single_emails_speak_of_the_same_course() -> None:
    assert [LAST_EVENTS[rank] for rank in sorted(StatusRank)] == list(PROGRESS)
