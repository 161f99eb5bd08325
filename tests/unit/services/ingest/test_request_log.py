"""The log of API requests: what it keeps, and what it leaves out."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import Unavailable
from kernel.metrics import requests_unlogged
from services.ingest.domain.request_log import LoggedRequest, line, masked, outline
from services.ingest.store import request_log
from services.ingest.store.request_log import RequestLogWriter

ID = "01890000-0000-7000-8000-000000000000"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Inserted:
    """Instead of a database. fails: for so many times it is away."""

    def __init__(self, fails: int = 0, error: Exception | None = None) -> None:
        self.ids: list[str] = []
        self._fails = fails
        self._error = error or Unavailable("postgresql")

    async def execute_autocommit(self, _: str, columns: Sequence[list[Any]]) -> None:
        if self._fails:
            self._fails -= 1
            raise self._error
        self.ids += columns[0]


def logged(number: int, **fields: Any) -> LoggedRequest:  # noqa: ANN401
    given = {"method": "GET", "endpoint": "/x", "status": 200, "user_agent": "", "request_id": ""}
    return LoggedRequest(str(number), ID, "", False, **{**given, **fields})


def log_to(database: Inserted) -> RequestLogWriter:
    return RequestLogWriter(cast(Any, database))


def test_texts_of_a_body_are_not_kept() -> None:
    body = {"to": ["ann@example.net"], "subject": "Secret", "tags": [{"name": "a"}], "n": 3}
    assert json.loads(outline(json.dumps(body).encode()) or "") == {
        "to": ["[15 characters]"], "subject": "[6 characters]",
        "tags": [{"name": "[1 characters]"}], "n": 3,
    }  # fmt: skip


def test_a_problem_is_kept_without_addresses_and_keys() -> None:
    problem = {
        "name": "validation_error", "message": "Invalid to: 'Ann <ann@example.net>'.",
        "detail": "obm_live_0123456789ab is unknown.", "other": "x",
        "errors": [{"pointer": "#/to/0", "detail": "ann@example.net"}],
    }  # fmt: skip
    assert json.loads(masked(json.dumps(problem).encode()) or "") == {
        "name": "validation_error", "message": "Invalid to: 'Ann <[address]>'.",
        "detail": "[key] is unknown.", "errors": [{"pointer": "#/to/0", "detail": "[address]"}],
    }  # fmt: skip


@given(st.binary(max_size=200) | JSON.map(lambda one: json.dumps(one).encode()))
def test_any_body_can_be_stored(body: bytes) -> None:
    for found in (outline(body), masked(body)):
        assert found is None or "\\u0000" not in found
        assert found is None or json.loads(found) is None or found.encode()


def test_a_nested_body_is_cut() -> None:
    found = outline(b'{"a":' * 30 + b"1" + b"}" * 30)
    assert found is not None
    assert len(found) < 100
    assert outline(b"[" * 8_000) is None


@given(st.text())
def test_any_header_can_be_stored(text: str) -> None:
    assert "\0" not in line(text)
    line(text).encode()


def test_requests_are_written_once_when_the_database_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_log, "BATCH", 2)
    database = Inserted(fails=1)
    log = log_to(database)
    for number in range(5):
        log.add(logged(number))
    with pytest.raises(Unavailable):
        asyncio.run(log.write())
    log.add(logged(5))
    asyncio.run(log.write())
    assert database.ids == ["0", "1", "2", "3", "4", "5"]


def test_what_does_not_fit_into_memory_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "REQUESTS_MAX", 2)
    monkeypatch.setattr(request_log, "OCTETS_MAX", 10)
    before = requests_unlogged._value.get()
    database = Inserted()
    log = log_to(database)
    for number in range(3):
        log.add(logged(number, request_body=b"{}" * 4))
    assert [len(one.request_body) for one in log._waiting] == [8, 0]
    assert requests_unlogged._value.get() == before + 1
    asyncio.run(log.write())
    assert database.ids == ["0", "1"]


def test_a_group_that_cannot_be_written_does_not_stop_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_log, "BATCH", 1)
    database = Inserted(fails=1, error=ValueError("a bug of ours"))
    log = log_to(database)
    log.add(logged(0))
    log.add(logged(1))
    asyncio.run(log.write())
    assert database.ids == ["1"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('Invalid address "john.doe"@exa mple.com', "Invalid address [address] mple.com"),
        (r'"a\"b"@x.example, next', "[address], next"),
        ("/recipients/john.doe%40example.com", "[address]"),
        ("john@ and @example.com", "[address] and [address]"),
        ('the "quoted" @', 'the "quoted" @'),
    ],
)
def test_an_address_is_hidden_however_it_is_written(text: str, kept: str) -> None:
    assert line(text) == kept
