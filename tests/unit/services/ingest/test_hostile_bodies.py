"""Malformed bodies are client errors, never internal ones."""

import msgspec
import pytest

from services.ingest.domain.email import decode_batch, decode_email
from services.ingest.domain.pointers import decode_body
from services.ingest.domain.problem import Problem

DEEP = b"[" * 100_000
NO_JSON = {
    "not UTF-8": b'{"subject": "gr\xfc\xdfe"}',
    "a lone surrogate in UTF-8": b'{"subject": "\xed\xa0\x80"}',
    "deep": DEEP,
    "deep in a field": b'{"x": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "nothing": b"",
    "cut off": b'{"from": "a',
    "UTF-16": '{"from": "a@example.com"}'.encode("utf-16"),
}


@pytest.mark.parametrize("decode", [decode_email, decode_batch, msgspec.json.decode])
@pytest.mark.parametrize("name", NO_JSON)
def test_an_invalid_body_is_a_client_error(name: str, decode: object) -> None:
    with pytest.raises(Problem) as refused:
        decode_body(decode, NO_JSON[name])  # type: ignore[arg-type]

    assert refused.value.status in (400, 422)


def test_a_byte_order_mark_is_ignored() -> None:
    assert decode_body(msgspec.json.decode, b"\xef\xbb\xbf{}") == {}


def test_an_unknown_field_is_named_without_echoing_a_long_name() -> None:
    with pytest.raises(Problem) as refused:
        decode_body(decode_email, b'{"' + b"x" * 1_000_000 + b'": 1}')

    assert len(str(refused.value)) < 2_000
