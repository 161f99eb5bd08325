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
        return {"checks": self._checks, "challenge": "0" * 32, "responses": ["older", "proof"]}

    def items(self, path: str) -> Iterator[dict[str, str]]:
        assert path == "/brands"
        return iter(self._brands)


def use(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "open_api", lambda: api)


@contextmanager
def mail_server(reply: bytes) -> Iterator[int]:
    """The port of a server whose replies are 220 and 250, and in the end this. Its reply to RCPT
    follows the right challenge."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                for each in (b"220 mx.example.com", b"250 hello", b"250 sender ok", reply):
                    connection.sendall(each + b"\r\n")
                    received = connection.recv(1024)
                assert received == b""

        thread = Thread(target=talk)
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
    with mail_server(b"550 5.1.1 proof") as port:
        monkeypatch.setattr(doctor, "SMTP", port)
        monkeypatch.setitem(doctor.ADVICE, port, "Open it.")
        doctor.doctor()
    assert capsys.readouterr().out == "2 checks, 0 failed.\n"


@pytest.mark.parametrize("reply", [b"250 2.1.5 Ok", b"550 5.1.1 No such user", b"250 proof"])
def test_a_strangers_server_at_the_host_of_bounces_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reply: bytes
) -> None:
    use(FakeApi({**CHECK, "check": "bounce_mx", "subject": "127.0.0.1"}), monkeypatch)
    with mail_server(reply) as port:
        monkeypatch.setattr(doctor, "SMTP", port)
        monkeypatch.setitem(doctor.ADVICE, port, "Open it.")
        with pytest.raises(typer.Exit):
            doctor.doctor()
    shown = " ".join(capsys.readouterr().out.split())
    assert "bounce_mx_answers" in shown
    assert "OBM_SECRET_KEYS" in shown
    monkeypatch.setattr(doctor, "SMTP", free_port())
    monkeypatch.setitem(doctor.ADVICE, doctor.SMTP, "Open it.")
    use(FakeApi({**CHECK, "check": "bounce_mx", "subject": "127.0.0.1"}), monkeypatch)
    with pytest.raises(typer.Exit):
        doctor.doctor()
    assert "refused" in capsys.readouterr().out


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
