"""The fingerprint recognizes a repeated request."""

import json
import tracemalloc

import msgspec
import pytest

from services.ingest.api.sending import fingerprint

MAIL = {"from": "a@x.net", "to": ["b@y.net"], "subject": "Hi", "text": "Hello"}


def of(*emails: object, **style: int) -> bytes:
    return fingerprint([msgspec.Raw(json.dumps(email, **style).encode()) for email in emails])  # type: ignore[arg-type]


def test_field_order_and_white_space_do_not_change_the_fingerprint() -> None:
    mail = {**MAIL, "metadata": {"a": "1", "b": "2"}}
    turned = dict(reversed({**mail, "metadata": {"b": "2", "a": "1"}}.items()))
    assert of(mail) == of(turned) == of(turned, indent=2)


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "Ho"},
        {"to": ["c@y.net"]},
        {"test": True},
        {"attachments": [{"filename": "a", "content": [1, 2]}]},
    ],
)
def test_another_request_has_another_fingerprint(change: dict[str, object]) -> None:
    assert of({**MAIL, **change}) != of(MAIL)


def test_another_attachment_changes_the_fingerprint() -> None:
    files = [[{"filename": "a", "content": content}] for content in ([1, 2], [1, 3], "AQI=")]
    assert len({of({**MAIL, "attachments": one}) for one in files}) == 3


def test_an_invalid_email_of_a_batch_is_part_of_the_fingerprint() -> None:
    assert of(MAIL, {"to": 5}) != of({"to": 5}, MAIL)
    assert of(MAIL, {"to": 5, "x": 1}) == of(MAIL, {"x": 1, "to": 5})


def test_attachments_are_not_decoded_for_the_fingerprint() -> None:
    octets = bytes(range(256)) * 4096
    body = json.dumps({**MAIL, "attachments": [{"filename": "a", "content": list(octets)}]})
    tracemalloc.start()
    fingerprint([body.encode()])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3.2 * len(body)
