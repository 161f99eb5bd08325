from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.ingest.v1.events_pb2 import RecipientType
from mail.address import parse_mailbox
from services.ingest.domain.email import decode_raw
from services.ingest.domain.pointers import decode_body
from services.ingest.domain.problem import Problem
from services.ingest.domain.raw_email import HOPS_MAX, parse_raw_email
from services.ingest.domain.raw_request import has_raw, validate_raw
from services.ingest.domain.valid_email import ValidEmail

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MESSAGE = (
    b"From: =?utf-8?q?Bj=C3=B6rn?= <a@SHOP.example>\nTo: One <one@x.net>, bad address\n"
    b"Cc: two@x.net\nBcc: three@x.net\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\n\nhi\n"
)
TO, CC, BCC = (
    RecipientType.RECIPIENT_TYPE_TO,
    RecipientType.RECIPIENT_TYPE_CC,
    RecipientType.RECIPIENT_TYPE_BCC,
)


def read(raw: bytes, *recipients: str) -> ValidEmail:
    return parse_raw_email(raw, [parse_mailbox(one) for one in recipients], test=False).valid


def request(raw: bytes = MESSAGE, **more: object) -> ValidEmail:
    import json

    body = json.dumps({"raw": b64encode(raw).decode(), **more}).encode()
    return validate_raw(decode_body(decode_raw, body), NOW, test=False)


def pointers(raw: bytes = MESSAGE, **more: Any) -> list[str]:  # noqa: ANN401 - JSON
    with pytest.raises(Problem) as refused:
        request(raw, **more)
    return [fault.pointer for fault in refused.value.faults]


def test_the_envelope_decides_who_receives_it_and_the_header_is_shown() -> None:
    valid = read(MESSAGE, "two@X.net", "four@x.net", "one@x.net", "one@x.net")
    assert [(one.address, one.type) for one in valid.recipients] == [
        ("two@x.net", CC), ("four@x.net", BCC), ("one@x.net", TO)
    ]  # fmt: skip
    assert getattr(valid.content, "from") == "Björn <a@shop.example>"
    assert list(valid.content.to) == ["One <one@x.net>"]
    assert valid.content.subject == "Grüße"
    assert valid.content.raw == MESSAGE.replace(b"Bcc: three@x.net\n", b"").replace(b"\n", b"\r\n")


def test_without_an_envelope_the_header_names_the_recipients() -> None:
    valid = request(tags=[{"name": "a", "value": "b"}], stream="broadcast", tls="enforced")
    assert valid.tls_enforced
    assert [(one.address, one.type) for one in valid.recipients] == [
        ("one@x.net", TO), ("two@x.net", CC), ("three@x.net", BCC)
    ]  # fmt: skip
    assert (valid.tags, valid.stream) == ({"a": "b"}, "broadcast")
    assert request(to="other@x.net").recipients[0].address == "other@x.net"
    assert request(scheduled_at="in 1 hour").due_at == NOW + timedelta(hours=1)


def test_each_fault_has_its_pointer() -> None:
    assert pointers(b"To: one@x.net\n\n") == ["#/raw"]
    assert pointers(MESSAGE.replace(b"To: One <one@x.net>", b"To: x@example.com")) == ["#/to"]
    assert pointers(b"From: a@shop.example\n\nhi") == ["#/to"]
    assert pointers(to=["nobody"]) == ["#/to/0"]
    with pytest.raises(Problem) as refused:
        validate_raw(decode_body(decode_raw, b'{"raw": "?"}'), NOW, test=False)
    assert refused.value.faults[0].pointer == "#/raw"


@pytest.mark.parametrize(
    "raw",
    [
        b"From: a@x.net, b@x.net\n\n",
        b"From: =?utf-8?q?a=40x=2Enet?=\n\n",
        b"From: undisclosed:;\n\n",
        b"From: a@x.net <b@y.net>, \n\n",
        b"From: a@x.net\nSender: nobody\n\n",
        b"X: y\rFrom: hidden@x.net\nFrom: a@x.net\n\n",
        b"Received: by x\n" * (HOPS_MAX + 1) + b"From: a@x.net\n\n",
    ],
)
def test_a_message_whose_author_is_unclear_is_refused(raw: bytes) -> None:
    with pytest.raises(Problem) as refused:
        read(raw, "one@x.net")
    assert refused.value.status == 422


def test_a_name_that_looks_like_an_address_is_only_a_name() -> None:
    valid = read(b'From: "ceo@bank.example" <a@x.net>\nSender: list@y.net\n\n', "one@x.net")
    assert (valid.sender.domain, valid.on_behalf and valid.on_behalf.domain) == ("x.net", "y.net")
    assert read(b"From: root@x.net (Cron Daemon)\n\n", "one@x.net").sender.address == "root@x.net"


def test_fields_about_tracking_are_read_and_not_sent() -> None:
    found = read(b"Track-Opens: TRUE\nTrack-Clicks: false\n" + MESSAGE, "one@x.net")
    assert (found.track_opens, found.track_clicks) == (True, False)
    assert b"track" not in found.content.raw.lower()
    assert read(MESSAGE, "one@x.net").track_opens is None
    assert request(b"Track-Opens: true\n" + MESSAGE).track_opens is True
    assert request(b"Track-Opens: true\n" + MESSAGE, track_opens=False).track_opens is False
    assert pointers(b"Track-Opens: maybe\n" + MESSAGE) == ["#/raw"]


def test_the_message_id_that_a_sender_chose_is_known() -> None:
    chosen = b"Message-ID: <17@shop.example>\n" + MESSAGE
    assert read(chosen, "one@x.net").own_message_id == "<17@shop.example>"
    assert request(chosen).own_message_id == "<17@shop.example>"
    assert read(MESSAGE, "one@x.net").own_message_id == ""
    long = b"Message-ID: <" + b"x" * 950 + b"@x.net>\n" + MESSAGE
    assert read(long, "one@x.net").own_message_id == ""


def test_an_idempotency_key_is_read_and_not_sent() -> None:
    keyed = b"Idempotency-Key: order 17\nResend-Idempotency-Key: x\n" + MESSAGE
    found = parse_raw_email(keyed, None, test=True)
    assert found.idempotency_key == "order 17"
    assert b"dempotency" not in found.valid.content.raw
    with pytest.raises(Problem):
        parse_raw_email(b"Idempotency-Key: " + b"x" * 257 + b"\n" + MESSAGE, None, test=True)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"raw": "eA==", "unknown": 1}', True),
        (b'{"raw": null}', True),
        (b'{"from": "a@b.net", "metadata": {"raw": "x"}, "unknown": 1}', False),
        (b'{"from": "a@b.net", "tags": [{"name": "raw", "value": "x"}]', False),
        (b'["raw"]', False),
        (b"[" * 100_000 + b'"raw"', False),
        (b"", False),
    ],
)
def test_a_request_has_a_complete_message_only_with_the_field(body: bytes, expected: bool) -> None:
    assert has_raw(body) is expected
