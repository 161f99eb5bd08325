"""What mail that came back reports."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.delivery.v1.events_pb2 import BounceReceived, ComplaintReceived
from kernel.ids import uuid7
from kernel.redaction import ERASED, pattern_of
from kernel.topics import EVENT_BYTES_MAX
from mail import verp
from services.delivery.domain import returned_mail
from services.delivery.domain.returned_mail import ReturnedMail, SentMessage, event_of, read
from tests.support.returned_mail import bounce, complaint

ID = UUID("018f0000-0000-7000-8000-000000000001")
PATH = verp.return_path(ID, "b.a.example", key=b"k" * 16).address
TOKEN = verp.token_of(PATH)
SENT = SentMessage(str(ID), "tenant", "email", "u@receiver.example", False)


def test_a_bounce_has_the_reply_of_the_server_that_refused_the_message() -> None:
    mail = read(bounce(PATH, "u@receiver.example"))
    event = event_of(mail, SENT, at_ms=1_700_000_000_000)
    assert isinstance(event, BounceReceived)
    assert (event.message_id, event.recipient) == (str(ID), "u@receiver.example")
    assert event.bounce_class == "invalid_recipient"
    assert (event.reply.code, event.reply.enhanced, event.reply.step) == (550, "5.1.1", "rcpt")
    assert event.reply.mx == "in.receiver.example"
    assert event.reply.text.endswith("User unknown")
    assert event.received_at.ToMilliseconds() == 1_700_000_000_000


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        ("U@Receiver.example", "invalid_recipient"),
        ("u", "invalid_recipient"),
        ("member@receiver.example", "routing_errors"),
        ("u@elsewhere.example", "routing_errors"),
    ],
)
def test_a_bounce_of_the_member_of_a_list_does_not_suppress_the_list(
    recipient: str, expected: str
) -> None:
    event = event_of(read(bounce(PATH, recipient)), SENT, at_ms=1)
    assert isinstance(event, BounceReceived)
    assert (event.bounce_class, event.recipient) == (expected, "u@receiver.example")


def test_a_bounce_of_an_erased_recipient_does_not_name_them() -> None:
    mail = read(bounce(PATH, SENT.recipient))
    event = event_of(mail, SENT._replace(recipient=ERASED), at_ms=1)
    assert isinstance(event, BounceReceived)
    assert (event.bounce_class, event.reply.code) == ("invalid_recipient", 550)
    assert not pattern_of(SENT.recipient).search(str(event))
    assert event.reply.text == ERASED


@pytest.mark.parametrize(
    ("action", "status", "kind"),
    [
        ("delayed", "4.4.1", "delay"),
        ("delivered", "2.1.5", "delivered"),
        ("relayed", "2.0.0", "delivered"),
    ],
)
def test_a_notification_of_a_delay_or_a_delivery_has_no_effect(
    action: str, status: str, kind: str
) -> None:
    mail = read(bounce(PATH, "u@receiver.example", action=action, status=status))
    assert (mail.kind, mail.is_report) == (kind, False)


@pytest.mark.parametrize(
    ("given_type", "expected"),
    [
        ("abuse", "abuse"),
        ("Fraud", "fraud"),
        ("opt-out", "opt-out"),
        ("x-new", "other"),
        ("", "other"),
    ],
)
def test_a_complaint_is_of_a_known_type(given_type: str, expected: str) -> None:
    mail = read(complaint("fbl@a.example", f"X-Report-Token: {TOKEN}", feedback_type=given_type))
    event = event_of(mail, SENT, at_ms=1)
    assert isinstance(event, ComplaintReceived)
    assert (event.feedback_type, event.source) == (expected, "SomeGenerator/1.0")
    assert mail.report == "complaint"  # of whatever type: one per message


@pytest.mark.parametrize("feedback_type", ["not-spam", "auth-failure"])
def test_other_feedback_is_no_complaint(feedback_type: str) -> None:
    mail = read(complaint("fbl@a.example", f"X-Report-Token: {TOKEN}", feedback_type=feedback_type))
    assert (mail.is_report, mail.is_feedback) == (False, True)


@pytest.mark.parametrize(
    ("header", "fields", "expected"),
    [
        (f"X-Report-Token: {TOKEN}", "", (TOKEN,)),
        (f"Return-Path: <{PATH}>", "", (TOKEN,)),
        ("Subject: x", f"Original-Mail-From: <{PATH}>\n", (TOKEN,)),
        (f"X-Report-Token: {TOKEN}\nReturn-Path: <{PATH}>", "", (TOKEN,)),
        (f"Message-ID: <{ID}@a.example>", "", ()),
        (f"Message-ID: <{TOKEN}@a.example>\nX-Report-Token: {ID}", "", ()),
    ],
)
def test_a_complaint_names_its_message_by_a_token(
    header: str, fields: str, expected: tuple[str, ...]
) -> None:
    assert read(complaint("fbl@a.example", header, fields=fields)).tokens == expected


def test_what_the_child_returns_is_read_again() -> None:
    work = returned_mail.create_reader(b"")
    for raw in (
        bounce(PATH, "u@receiver.example"),
        complaint("fbl@a.example", f"X-Report-Token: {TOKEN}"),
        b"Subject: hello\r\n\r\nhello\r\n",
    ):
        [result] = work([raw])
        assert returned_mail.decode(result) == read(raw)


@given(st.binary(max_size=300), st.integers(0, 2_000), st.integers(0, 40), st.booleans())
def test_reports_with_damage_become_events_of_bounded_size(
    junk: bytes, at: int, cut: int, complains: bool
) -> None:
    """junk replaces `cut` octets."""
    whole = (
        complaint(PATH, f"X-Report-Token: {TOKEN}", fields=f"Original-Mail-From: <{PATH}>\n")
        if complains
        else bounce(PATH, "u@receiver.example")
    )
    mail = read(whole[:at] + junk + whole[at + cut :])
    assert isinstance(mail, ReturnedMail)
    if mail.is_report:
        event = event_of(mail, SENT, at_ms=1)
        assert event.ByteSize() < EVENT_BYTES_MAX // 4
        assert (event.message_id, event.tenant_id) == (str(ID), "tenant")


def test_ten_thousand_forged_tokens_are_no_proof() -> None:
    for _ in range(10_000):
        path = verp.return_path(uuid7(), "b.a.example", key=b"another key.....")
        forged = verp.token_of(path.address)
        assert verp.parse_token(forged, keys=(b"k" * 16,)) is None
