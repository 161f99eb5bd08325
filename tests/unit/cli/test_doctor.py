"""`obm doctor` prints what is wrong, and fails if something is."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
import typer

from cli import doctor
from kernel.embedded.folder import free_port

CHECK = {
    "check": "ptr", "subject": "192.0.2.10", "status": "passed", "detail": "", "advice": "",
    "since": "2026-11-01T10:00:00.5Z", "checked_at": "2026-11-01T11:00:00.5Z",
}  # fmt: skip


class FakeApi:
    def __init__(self, *checks: dict[str, str], smtp_host: str = "") -> None:
        self._checks = checks
        self._brands = [{"smtp_host": smtp_host}, {"smtp_host": smtp_host}]
        self.posted: list[str] = []

    def post(self, path: str) -> dict[str, Any]:
        self.posted.append(path)
        return {"checks": self._checks}

    def items(self, path: str) -> Iterator[dict[str, str]]:
        assert path == "/brands"
        return iter(self._brands)


def use(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "open_api", lambda: api)


@contextmanager
def greeting(text: bytes) -> Iterator[int]:
    """The port of a server that says this to whom connects first."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(text)

        thread = Thread(target=greet)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_an_installation_that_is_well_has_no_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(FakeApi(CHECK), monkeypatch)
    doctor.doctor()
    assert capsys.readouterr().out == "1 checks, 0 failed.\n"
    doctor.doctor(every=True)
    assert "192.0.2.10" in capsys.readouterr().out


def test_what_is_shown_is_marked_as_read_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi({**CHECK, "check": "infrastructure_bounces", "status": "failed"})
    use(api, monkeypatch)
    for mark_read in (False, True):
        with pytest.raises(typer.Exit):
            doctor.doctor(mark_read=mark_read)
    assert api.posted == ["/health/checks"] * 2 + ["/health/bounces/read"]


def test_what_is_wrong_is_shown_with_what_to_do_and_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {**CHECK, "status": "failed", "detail": "ptr_missing", "advice": "Publish a record."}
    use(FakeApi(wrong, {**CHECK, "subject": "192.0.2.11"}), monkeypatch)
    with pytest.raises(typer.Exit) as left:
        doctor.doctor()
    assert left.value.exit_code == 1
    shown = capsys.readouterr().out
    for text in ("failed", "ptr_missing", "Publish a record.", "2026-11-01 10:00", "2 checks, 1"):
        assert text in shown
    assert "192.0.2.11" not in shown


def test_the_host_of_bounces_is_looked_at_from_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mx = {**CHECK, "check": "bounce_mx", "subject": "127.0.0.1"}
    use(FakeApi(mx), monkeypatch)
    with greeting(b"220 mx.example.com ESMTP\r\n") as port:
        monkeypatch.setattr(doctor, "SMTP", port)
        monkeypatch.setitem(doctor.ADVICE, port, "Open it.")
        doctor.doctor()
    assert capsys.readouterr().out == "2 checks, 0 failed.\n"
    with greeting(b"554 go away\r\n") as port:
        monkeypatch.setattr(doctor, "SMTP", port)
        monkeypatch.setitem(doctor.ADVICE, port, "Open it.")
        with pytest.raises(typer.Exit):
            doctor.doctor()
    assert "bounce_mx_answers" in capsys.readouterr().out


def test_a_submission_host_that_does_not_answer_is_shown_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "SUBMISSIONS", free_port())
    monkeypatch.setitem(doctor.ADVICE, doctor.SUBMISSIONS, "Open it.")
    use(FakeApi(smtp_host="127.0.0.1"), monkeypatch)
    with pytest.raises(typer.Exit):
        doctor.doctor()
    assert capsys.readouterr().out.count("smtp_host_answers") == 1
    use(FakeApi(smtp_host="127.0.0.1"), monkeypatch)
    doctor.doctor(from_here=False)
