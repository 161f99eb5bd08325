"""A repeated request is known whatever its client does to the order of its fields."""

import json
import tracemalloc

import msgspec
import pytest

from services.ingest.api.sending import fingerprint

MAIL = {"from": "a@x.net", "to": ["b@y.net"], "subject": "Hi", "text": "Hello"}


def of(*emails: object, **style: int) -> bytes:
    return fingerprint([msgspec.Raw(json.dumps(email, **style).encode()) for email in emails])  # type: ignore[arg-type]


def test_the_same_request_written_otherwise_is_the_same() -> None:
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
def test_another_request_is_another(change: dict[str, object]) -> None:
    assert of({**MAIL, **change}) != of(MAIL)


def test_another_attachment_is_another_request() -> None:
    files = [[{"filename": "a", "content": content}] for content in ([1, 2], [1, 3], "AQI=")]
    assert len({of({**MAIL, "attachments": one}) for one in files}) == 3


def test_what_is_no_email_has_a_place_in_a_batch() -> None:
    assert of(MAIL, {"to": 5}) != of({"to": 5}, MAIL)
    assert of(MAIL, {"to": 5, "x": 1}) == of(MAIL, {"x": 1, "to": 5})


def test_octets_as_numbers_are_not_read_once_more() -> None:
    octets = bytes(range(256)) * 4096
    body = json.dumps({**MAIL, "attachments": [{"filename": "a", "content": list(octets)}]})
    tracemalloc.start()
    fingerprint([body.encode()])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3.2 * len(body)
