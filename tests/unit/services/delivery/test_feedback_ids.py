"""Feedback-ID tells Google apart what belongs together, and others nothing."""

import re

import pytest

from contracts.ingest.v1.events_pb2 import MessageContext
from mail import feedback_id
from services.delivery.domain.feedback_ids import FeedbackIdEncoder

IDS = FeedbackIdEncoder(b"0123456789abcdef")
TENANTS = ("0199c0de-0000-7000-8000-000000000001", "0199c0de-0000-7000-8000-000000000002")


def parts(ids: FeedbackIdEncoder, tenant: str, account: str = "acme", **more: object) -> list[str]:
    field = ids.field(MessageContext(tenant_id=tenant, **more), account)  # type: ignore[arg-type]
    name, _, value = field.decode().partition(": ")
    assert (name, value[-2:]) == ("Feedback-ID", "\r\n")
    return value.strip().split(":")


def test_the_identifiers_are_those_of_stream_tenant_account_and_installation() -> None:
    first, second = (parts(IDS, tenant) for tenant in TENANTS)
    assert first[0] == second[0] == "transactional"
    assert first[1] != second[1]
    assert first[2:] == second[2:]
    assert parts(IDS, TENANTS[0], broadcast=True) == ["broadcast", *first[1:]]
    assert re.fullmatch(r"[0-9a-f]{10}", first[3])
    assert parts(FeedbackIdEncoder(b"0123456789abcdef", "acme-mail"), TENANTS[0])[3] == "acme-mail"


def test_a_list_has_its_own_identifier_in_each_tenant() -> None:
    weekly = [parts(IDS, tenant, broadcast=True, list="weekly") for tenant in TENANTS]
    assert weekly[0][0] != weekly[1][0]
    assert parts(IDS, TENANTS[0], broadcast=True, list="weekly") == weekly[0]
    assert "weekly" not in weekly[0][0]


def test_without_the_key_nobody_can_compute_them() -> None:
    assert parts(IDS, TENANTS[0])[1:] != parts(FeedbackIdEncoder(bytes(16)), TENANTS[0])[1:]
    assert not {*TENANTS, "acme"} & {*parts(IDS, TENANTS[0])}


@pytest.mark.parametrize("sender", ["abcd", "a" * 16, "with:colon", "line\r\nbreak"])
def test_a_sender_that_google_does_not_know_is_refused(sender: str) -> None:
    with pytest.raises(ValueError, match="not valid"):
        feedback_id.encode_field(("a", "b", "c"), sender=sender)
