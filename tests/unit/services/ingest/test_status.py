"""The status of an email from router and from the event log."""

import pytest

from services.events.domain.log_event import LAST_EVENTS, StatusRank
from services.ingest.domain.status import CLICKED, OPENED, PROGRESS, RecipientState, last_event


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ([], "sent"),
        ([RecipientState("")], "sent"),
        ([RecipientState("queued")], "sent"),  # for example waiting for DNS
        ([RecipientState("held")], "held"),
        ([RecipientState("assigned")], "sent"),
        ([RecipientState("queued", 1)], "delivery_delayed"),
        ([RecipientState("canceled")], "canceled"),
        ([RecipientState("delivered"), RecipientState("delivered")], "delivered"),
        ([RecipientState("delivered"), RecipientState("bounced")], "bounced"),
        ([RecipientState("delivered"), RecipientState("assigned")], "delivered"),
    ],
)
def test_an_email_has_the_status_of_its_furthest_recipient(
    states: list[RecipientState], word: str
) -> None:
    assert last_event(states, scheduled=False) == word


def test_a_scheduled_email_is_scheduled_until_it_is_sent() -> None:
    assert last_event([RecipientState("expected")], scheduled=True) == "scheduled"
    assert last_event([RecipientState("queued")], scheduled=True) == "scheduled"
    assert last_event([RecipientState("assigned")], scheduled=True) == "sent"


def test_a_complaint_is_read_from_the_log() -> None:
    logged = ["complained", "opened"]
    found = last_event([RecipientState("delivered")], scheduled=False, logged=logged)
    assert found == "complained"


def test_what_the_recipient_did_is_the_status_of_a_delivered_email() -> None:
    states = [RecipientState("delivered")]
    assert last_event(states, scheduled=False, logged=["delivered", "opened"]) == "opened"
    assert last_event(states, scheduled=False, logged=["opened", "clicked"]) == "clicked"
    bounced = [RecipientState("bounced"), *states]
    assert last_event(bounced, scheduled=False, logged=["clicked"]) == "bounced"


def test_a_lagging_log_does_not_delay_the_status() -> None:
    assert (
        last_event([RecipientState("delivered")], scheduled=False, logged=["sent"]) == "delivered"
    )


def test_lists_and_single_emails_have_the_same_statuses() -> None:
    both = [name for name in PROGRESS if name not in {OPENED, CLICKED}]
    assert [LAST_EVENTS[rank] for rank in sorted(StatusRank)] == both
