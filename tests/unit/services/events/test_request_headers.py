"""Header fields that customers add to the requests of their webhooks."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.events.clients import headers_and_body
from services.events.domain.request_headers import (
    HEADERS_MAX,
    NAME_MAX,
    VALUE_MAX,
    headers_problem,
    svix_names,
)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer abc"},
        {"X-Team": 'mail ops; team=1"~'},
        {"x" * NAME_MAX: "v" * VALUE_MAX},
        {f"x-{number}": "1" for number in range(HEADERS_MAX)},
    ],
)
def test_usual_fields_are_accepted(headers: dict[str, str]) -> None:
    assert headers_problem(headers) == ""


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"": "1"}, "not a header name"),
        ({"X Team": "1"}, "not a header name"),
        ({"X-Team:": "1"}, "not a header name"),
        ({"X-Team\r\nHost": "1"}, "not a header name"),
        ({"X-Grüße": "1"}, "not a header name"),
        ({"x" * (NAME_MAX + 1): "1"}, "not a header name"),
        ({"X-Team": ""}, "the value of 'X-Team'"),
        ({"X-Team": " 1"}, "the value of 'X-Team'"),
        ({"X-Team": "1\n"}, "the value of 'X-Team'"),
        ({"X-Team": "1\r\nHost: inner"}, "the value of 'X-Team'"),
        ({"X-Team": "\x00"}, "the value of 'X-Team'"),
        ({"X-Team": "Grüße"}, "the value of 'X-Team'"),
        ({"X-Team": "v" * (VALUE_MAX + 1)}, "the value of 'X-Team'"),
        ({"HOST": "inner"}, "'HOST' is reserved"),
        ({"content-length": "0"}, "is reserved"),
        ({"Transfer-Encoding": "chunked"}, "is reserved"),
        ({"User-Agent": "x"}, "is reserved"),
        ({"Webhook-Signature": "v1,x"}, "is reserved"),
        ({"svix-id": "1"}, "is reserved"),
        ({"Proxy-Authorization": "1"}, "is reserved"),
        ({"X-Team": "1", "x-team": "2"}, "more than once"),
        ({f"x-{number}": "1" for number in range(HEADERS_MAX + 1)}, "at most 10"),
    ],
)
def test_other_fields_are_refused(headers: dict[str, str], problem: str) -> None:
    assert problem in headers_problem(headers)


class Fields:
    """Of a parsed request."""

    def __init__(self) -> None:
        self.found: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found.append((name, value))


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3))
def test_what_is_accepted_arrives_as_it_is_and_adds_nothing(headers: dict[str, str]) -> None:
    if headers_problem(headers):
        return
    fields = Fields()
    parser = httptools.HttpRequestParser(fields)
    parser.feed_data(b"POST / HTTP/1.1\r\n" + headers_and_body(headers, b"{}"))
    own = [(name.encode(), value.encode()) for name, value in headers.items()]

    assert fields.found == [(b"Content-Length", b"2"), *own]


def test_the_signature_has_svix_names_too() -> None:
    assert svix_names({"webhook-id": "evt_1", "webhook-signature": "v1,x"}) == {
        "svix-id": "evt_1", "svix-signature": "v1,x",
    }  # fmt: skip
