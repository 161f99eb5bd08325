"""`obm tail`: messages of a stream, reconnections, and the line of an event."""

import json
from collections.abc import Iterator
from typing import Any, cast

import pytest

from cli import tail
from cli.api import Api, Refused
from kernel.errors import ConfigError

EVENT: dict[str, Any] = {
    "created_at": "2026-11-23T09:00:00.000Z", "type": "email.bounced", "recipient": "a@x.net",
    "data": {"bounce": {"message": "no such\x1b[31m user"}},
}  # fmt: skip


class Broken:
    """An API whose connections end after one message, or fail."""

    error: ConfigError = ConfigError("away")

    def __init__(self, *connections: list[bytes]) -> None:
        self.paths: list[str] = []
        self._connections = list(connections)

    def lines(self, path: str, *, tenant_id: str) -> Iterator[bytes]:
        self.paths.append(path)
        if not self._connections:
            raise self.error
        yield from self._connections.pop(0)


def message(identifier: str, **event: Any) -> list[bytes]:  # noqa: ANN401
    return [f"id: {identifier}\n".encode(), f"data: {json.dumps(event)}\n".encode(), b"\n"]


def test_a_broken_connection_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "RETRY_S", 0)
    silent = [b": nothing new\n", b"id: evt_0\n", b"\n"]
    api = Broken(silent, message("evt_1", n=1), message("evt_2", n=2))
    found = tail.follow(cast(Api, api), {"type": "email.sent"}, tenant_id="")
    assert [next(found), next(found)] == [{"n": 1}, {"n": 2}]
    path = "/emails/events/stream?type=email.sent"
    assert api.paths == [path, f"{path}&after=evt_0", f"{path}&after=evt_1"]


def test_a_first_connection_that_fails_is_an_error() -> None:
    with pytest.raises(ConfigError):
        next(tail.follow(cast(Api, Broken()), {}, tenant_id=""))


def test_a_key_that_was_revoked_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "RETRY_S", 0)
    api = Broken(message("evt_1", n=1))
    api.error = Refused("The API key is revoked.", "invalid_api_key")
    found = tail.follow(cast(Api, api), {}, tenant_id="")
    assert next(found) == {"n": 1}
    with pytest.raises(Refused):
        next(found)


def test_a_line_shows_the_reply_without_control_characters() -> None:
    line = tail.line_of(EVENT)
    assert "email.bounced  a@x.net" in line
    assert "no such" in line
    assert "\x1b" not in line
