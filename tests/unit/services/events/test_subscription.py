"""Which events an endpoint receives, by its filters."""

from typing import Any

import pytest

from contracts.events.v1.events_pb2 import WebhookDisabled
from contracts.ingest.v1.events_pb2 import DomainChanged, MessageAccepted
from services.events.domain.endpoint import WebhookEndpoint
from services.events.domain.log_event import (
    EventKind,
    endpoint_log_event,
    log_event_of,
)
from services.events.domain.subscription import is_subscribed, passes_filters
from tests.support.message_events import MessageEvents

DOMAIN, OTHER = MessageEvents().email_id, MessageEvents().email_id


def endpoint(**filters: Any) -> WebhookEndpoint:  # noqa: ANN401 - of several types
    return WebhookEndpoint("hook", "tenant", "https://x.example/", b"", **filters)


def accepted_of(message: MessageEvents, stream: str = "transactional") -> MessageAccepted:
    event = message.accepted()
    event.context.domain_id = DOMAIN
    event.stream = stream
    return event


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, True),
        ({"domain_ids": [OTHER, DOMAIN]}, True),
        ({"domain_ids": [OTHER]}, False),
        ({"tags": ["kind"]}, True),
        ({"tags": ["other", "kind:order"]}, True),
        ({"tags": ["kind:invoice"]}, False),
        ({"streams": ["transactional"]}, True),
        ({"streams": ["broadcast"]}, False),
        ({"domain_ids": [DOMAIN], "tags": ["kind"], "streams": ["broadcast"]}, False),
        ({"domain_ids": [DOMAIN], "tags": ["kind"], "streams": ["transactional"]}, True),
    ],
)
def test_mail_passes_by_domain_tag_and_stream(filters: dict[str, list[str]], passes: bool) -> None:
    message = MessageEvents(tags={"kind": "order"})
    for event in (message.closed(), message.complained()):
        found = passes_filters(endpoint(**filters), log_event_of(event), accepted_of(message))
        assert found is passes


def test_an_event_of_mail_that_is_unknown_may_pass() -> None:
    closed = log_event_of(MessageEvents().closed())
    filtered = endpoint(tags=["kind"])

    assert passes_filters(filtered, closed, None) is None
    assert is_subscribed(filtered, closed, "email.delivered", accepted=None)
    assert passes_filters(endpoint(), closed, None) is True


def test_an_accept_without_a_stream_is_transactional() -> None:
    message = MessageEvents()
    event, accepted = log_event_of(message.closed()), accepted_of(message, stream="")

    assert passes_filters(endpoint(streams=["transactional"]), event, accepted)


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, True),
        ({"domain_ids": [DOMAIN]}, True),
        ({"domain_ids": [OTHER]}, False),
        ({"tags": ["kind"]}, False),
        ({"domain_ids": [DOMAIN], "streams": ["transactional"]}, False),
    ],
)
def test_a_change_of_a_domain_passes_by_domain_alone(
    filters: dict[str, list[str]], passes: bool
) -> None:
    event = log_event_of(DomainChanged(domain_id=DOMAIN, version=1, type="domain.verified"))

    assert passes_filters(endpoint(**filters), event, None) is passes


def test_other_events_pass_only_without_filters_and_a_test_always() -> None:
    disabled = WebhookDisabled(endpoint_id=OTHER, disabled_at_ms=1, tenant_id="t", reason="gone")
    test = endpoint_log_event(disabled, EventKind.WEBHOOK_TEST, "1")
    filtered = endpoint(streams=["transactional"])

    assert passes_filters(filtered, log_event_of(disabled), None) is False
    assert not is_subscribed(filtered, log_event_of(disabled), "webhook.disabled", accepted=None)
    assert passes_filters(endpoint(), log_event_of(disabled), None) is True
    assert passes_filters(filtered, test, None) is True
