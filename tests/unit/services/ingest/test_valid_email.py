import json
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from contracts.ingest.v1.events_pb2 import RecipientType
from mail import address
from services.ingest.domain.attachments import decode_attachments
from services.ingest.domain.email import Attachment, decode_email
from services.ingest.domain.problem import Fault, Problem
from services.ingest.domain.valid_email import ValidEmail, validate

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)


def read(*, test: bool = False, **changes: Any) -> ValidEmail:  # noqa: ANN401 - JSON
    given = {"from": "a@x.net", "to": "b@y.net", "subject": "Hi", "text": "Hello", **changes}
    given = {name: value for name, value in given.items() if value is not None}
    return validate(decode_email(json.dumps(given)), NOW, test=test)


def faults_of(**changes: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - JSON
    with pytest.raises(Problem) as refused:
        read(**changes)
    return [(fault.pointer, fault.code) for fault in refused.value.faults]


def test_a_repeated_address_is_one_recipient_of_its_first_field() -> None:
    made = read(to=["b@y.net", "B <b@Y.net>"], cc=["b@y.net", "c@y.net"], bcc="d@bücher.de")

    assert [(one.address, one.type) for one in made.recipients] == [
        ("b@y.net", RecipientType.RECIPIENT_TYPE_TO),
        ("c@y.net", RecipientType.RECIPIENT_TYPE_CC),
        ("d@xn--bcher-kva.de", RecipientType.RECIPIENT_TYPE_BCC),
    ]
    assert list(made.content.to) == ["b@y.net", "B <b@y.net>"]
    assert not any("bücher" in text for text in (*made.content.to, *made.content.cc))


def test_all_faults_are_reported_at_once() -> None:
    assert faults_of(**{"from": "nobody"}, to=["ok@y.net", "x", "z@"], scheduled_at="soon") == [
        ("#/to/1", "invalid_address"),
        ("#/to/2", "invalid_address"),
        ("#/from", "invalid_address"),
        ("#/scheduled_at", "invalid_time"),
    ]


def test_headers_that_the_engine_writes_and_injections_are_refused() -> None:
    for name in ("From", "bcc", "DKIM-Signature", "Content-Type", "ARC-Seal", "Resent-To"):
        assert faults_of(headers={name: "x"}) == [(f"#/headers/{name}", "invalid_header")]
    assert faults_of(headers={"X-A": "a\r\nBcc: b@y.net"}) == [("#/headers/X-A", "invalid_header")]
    assert faults_of(headers={"Reply-To": "a@y.net", "reply-to": "b@y.net"}) == [
        ("#/headers", "invalid_header")
    ]
    assert faults_of(headers={"message-id": "order-42"}) == [
        ("#/headers/message-id", "invalid_header")
    ]
    assert faults_of(headers={"Message-ID": "<a@y.net>", "message-id": "<b@y.net>"}) == [
        ("#/headers", "invalid_header")
    ]
    assert read(headers={"Message-ID": "<order.42@y.net>"}).content.headers
    assert faults_of(subject="a\nb") == [("#/subject", "invalid_header")]
    assert [(h.name, h.value) for h in read(headers={"X-A": "b"}).content.headers] == [("X-A", "b")]


@pytest.mark.parametrize(
    "content", ["AP8K", [0, 255, 10], {"type": "Buffer", "data": [0, 255, 10]}]
)
def test_attachments_are_accepted_in_the_forms_of_clients(content: object) -> None:
    made = read(attachments=[{"filename": "a.bin", "content": content, "content_id": "<logo>"}])

    [file] = made.content.attachments
    assert (file.content, file.content_id) == (b"\x00\xff\n", "logo")


@pytest.mark.parametrize(
    "content",
    [None, 5, True, [256], [-1], [1.5], ["1"], [[1]], {}, {"type": "Buffer"},
     {"type": "Blob", "data": [1]}, {"type": "Buffer", "data": "AA=="},
     {"type": "Buffer", "data": "1,2"}, {"type": "Buffer", "data": 123},
     {"type": "Buffer", "data": [1], "x": 1}, [0] * 40_000 + ["a,b"], [0] * 40_000 + [[1, 2]]],
    ids=lambda content: str(content)[-20:],
)  # fmt: skip
def test_attachment_content_that_is_neither_base64_nor_octets_is_refused(content: object) -> None:
    file = {"filename": "a", "content": content}
    assert faults_of(attachments=[file]) == [("#/attachments/0", "invalid_attachment")]


def test_content_as_numbers_is_limited_by_the_request_only_and_cheap() -> None:
    """resend-python sends a file as a list of octets."""
    octets = bytes(range(256)) * (2 * 1024 * 4)
    body = b'{"filename": "a.bin", "content": %b}' % json.dumps(list(octets)).encode()
    file = msgspec.json.decode(body, type=Attachment)
    tracemalloc.start()
    [read_back] = decode_attachments([file], [])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert read_back.content == octets
    assert peak < 5 * len(octets)


def test_white_space_does_not_make_a_short_list_expensive() -> None:
    faults: list[Fault] = []
    spaced = b'{"filename": "a", "content": [1,%b2]}' % (b" " * 70_000)
    assert list(decode_attachments([msgspec.json.decode(spaced, type=Attachment)], faults)) == []
    assert [one.code for one in faults] == ["invalid_attachment"]


def test_an_attachment_that_cannot_be_composed_is_refused_at_acceptance() -> None:
    for wrong in (
        {"content": "%"}, {"content_type": "none"}, {"filename": "a\nb"}, {"content_id": "a b"},
    ):  # fmt: skip
        file = {"filename": "a", "content": "AA==", **wrong}
        assert faults_of(attachments=[file]) == [("#/attachments/0", "invalid_attachment")]


def test_reserved_domains_are_refused_for_live_mail_only() -> None:
    for domain in ("example.com", "mail.example.org", "x.test", "host.local", "a.localhost"):
        assert faults_of(to=f"a@{domain}") == [("#/to", "reserved_domain")]
        assert read(to=f"a@{domain}", test=True).test
        assert read(to=f"a@{domain}", test=True).test
    assert read(to="a@example.community").recipients


def test_tags_and_metadata_fit_in_the_event() -> None:
    assert faults_of(metadata={"a": "ü" * 4001}) == [("#/metadata", "too_long")]
    assert faults_of(metadata={"": "a"}) == [("#/metadata", "invalid")]
    tags = [{"name": f"n{index}"} for index in range(76)]
    assert faults_of(tags=tags) == [("#/tags", "too_long")]


@pytest.mark.parametrize(
    "given",
    ["a@x.net", "Bob <a@x.net>", '"B, ob" <a@x.net>', "Bé <a@bü.de>", '"Bé \\" ü" <a@x.net>'],
)
def test_a_mailbox_is_stored_in_readable_form_and_parses_to_the_same(given: str) -> None:
    box = address.parse_mailbox(given)

    assert address.canonical(
        address.parse_mailbox(address.format_for_display(box))
    ) == address.canonical(box)
    assert "=?" not in address.format_for_display(box)


def test_counts_are_checked_before_their_items() -> None:
    files = [{"filename": "a", "content": "?"}] * 101
    assert faults_of(attachments=files) == [("#/attachments", "too_many_attachments")]
    assert faults_of(headers={f"X-{n}": "a" for n in range(101)}) == [
        ("#/headers", "too_many_headers")
    ]
    long = {"X-A": "a b " * 2_001, "Reply-To": "\r\n" * 4_001}
    assert faults_of(headers=long) == [
        ("#/headers/X-A", "invalid_header"),
        ("#/headers/Reply-To", "invalid_header"),
    ]


@pytest.mark.parametrize("tag", [{"name": "a\n"}, {"name": "a", "value": "b\n"}, {"name": ""}])
def test_a_tag_with_a_final_line_break_is_refused(tag: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(tags=[tag])


def test_mail_to_a_list_is_broadcast() -> None:
    assert [(one.list, one.stream) for one in (
        read(), read(list="news"), read(topic_id="news"), read(list="news", topic_id="news"),
        read(list="news", stream="broadcast"), read(list=None, stream="broadcast"),
    )] == [
        ("", "transactional"), ("news", "broadcast"), ("news", "broadcast"),
        ("news", "broadcast"), ("news", "broadcast"), ("", "broadcast"),
    ]  # fmt: skip
    assert faults_of(list="news", topic_id="offers") == [("#/topic_id", "invalid")]
    for name in ("list", "topic_id"):
        given: Any = {name: "news"}
        assert faults_of(stream="transactional", **given) == [(f"#/{name}", "invalid")]


@pytest.mark.parametrize("name", ["", " ", " news", "news ", "ne\nws", "news\n", "né", "x" * 201])
def test_a_list_has_a_printable_name(name: str) -> None:
    for field in ("list", "topic_id"):
        changes: Any = {field: name}
        with pytest.raises(msgspec.ValidationError, match=field):
            read(**changes)
