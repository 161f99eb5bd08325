"""Mailboxes that the API creates are used by smtplib, and are in force in every replica: within a
second, as test_ingest_in_force says."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from cli.environment import Ports
from contracts.ingest.v1.directory_pb2 import Mailbox
from kernel import clock
from tests.support.ingest import DOMAIN, IngestHarness
from tests.support.mailboxes import (
    ANN,
    Client,
    act,
    in_thread,
    letter,
    refusal,
    submit,
    try_login,
)
from tests.support.polling import until
from tests.support.stack import shared_harness_fixture

harness = shared_harness_fixture(IngestHarness)


async def test_a_mailbox_logs_in_and_its_message_carries_its_id(harness: IngestHarness) -> None:
    harness.serve_submission()
    harness.extra["key_usage_interval_s"] = 0.2
    async with harness.running():
        await harness.sign_up()
        made = await act(harness, "POST", "/v1/mailboxes", {"address": f"Ann@{DOMAIN.upper()}"})
        assert (made["address"], made["username"], made["status"]) == (ANN, ANN, "active")
        ports = {"starttls": harness.ports.submission, "tls": harness.ports.submission_tls}
        assert made["smtp"] == {"host": "localhost", "ports": ports}
        client, password = Client(harness), made["password"]
        for mechanism in ("PLAIN", "LOGIN"):
            for implicit_tls in (False, True):
                code, _ = await in_thread(
                    lambda mechanism=mechanism, tls=implicit_tls: client.log_in(  # type: ignore[misc]
                        ANN, password, mechanism=mechanism, implicit_tls=tls
                    )
                )
                assert code == 235, (mechanism, implicit_tls)
        assert (await in_thread(lambda: client.log_in(ANN, password[:-1])))[0] == 535
        assert (await in_thread(lambda: client.log_in(f"bob@{DOMAIN}", password)))[0] == 535

        code, text = await in_thread(lambda: client.send(ANN, password))
        assert code == 250, text
        [accepted] = await harness.accepted(text.decode().rpartition(" ")[2])
        context = accepted.context
        assert (context.mailbox_id, context.api_key_id) == (made["id"], "")
        assert (context.test, context.tenant_id) == (True, harness.tenant_id)

        got = await act(harness, "GET", f"/v1/mailboxes/{made['id']}")
        assert "password" not in got
        assert (await act(harness, "GET", f"/v1/mailboxes?address={ANN}"))["data"][0]["id"] == made[
            "id"
        ]

        async def is_used() -> bool:
            found = await act(harness, "GET", f"/v1/mailboxes/{made['id']}")
            return found["last_used_at"] is not None

        await until(is_used)


async def test_a_mailbox_sends_from_its_address_or_from_its_domain(harness: IngestHarness) -> None:
    harness.serve_submission()
    other, foreign = f"bob@{DOMAIN}", "bob@bank.example"
    async with harness.shared():
        await harness.sign_up()
        made = await act(harness, "POST", "/v1/mailboxes", {"address": ANN})
        client, password = Client(harness), made["password"]

        async def reply(sender: str, message: bytes) -> tuple[int, bytes]:
            code, text = await in_thread(lambda: client.send(ANN, password, message, sender=sender))
            return code, text[:5]

        refused, accepted = (550, b"5.7.1"), (250, b"2.0.0")
        for sender, message, own, any_address in (
            (ANN, letter(), accepted, accepted),
            ("", letter(), accepted, accepted),
            (other, letter(), refused, accepted),
            (ANN, letter(other), refused, accepted),
            (ANN, letter(Sender=other), refused, accepted),
            (foreign, letter(), refused, refused),
            (ANN, letter(foreign), refused, refused),
            (ANN, letter(Sender=foreign), refused, refused),
        ):
            assert await reply(sender, message) == own, (sender, message)
            await act(harness, "PATCH", f"/v1/mailboxes/{made['id']}", {"any_address": True})
            assert await reply(sender, message) == any_address, (sender, message)
            await act(harness, "PATCH", f"/v1/mailboxes/{made['id']}", {"any_address": False})


async def test_both_passwords_work_during_a_rotation_and_one_after_it(
    harness: IngestHarness,
) -> None:
    harness.serve_submission()
    async with harness.shared():
        await harness.sign_up()
        made = await act(harness, "POST", "/v1/mailboxes", {"address": ANN})
        path = f"/v1/mailboxes/{made['id']}"
        began = clock.now()
        rotated = await act(harness, "POST", f"{path}/rotate", {"grace_s": 3600})
        ends = datetime.fromisoformat(rotated["previous_password_expires_at"])
        assert ends - began > timedelta(seconds=3599)
        assert ends - clock.now() <= timedelta(seconds=3600)
        assert rotated["id"] == made["id"]
        client = Client(harness)

        async def code(password: str) -> int:
            return (await in_thread(lambda: client.log_in(ANN, password)))[0]

        old, new = made["password"], rotated["password"]
        assert [await code(one) for one in (old, new)] == [235, 235]
        again = await harness.request("POST", f"{path}/rotate", {})
        assert refusal(again) == (409, "rotation_in_progress", "")
        async with harness.directory() as directory:
            [kept] = await directory.store.list_of_tenant(Mailbox, harness.tenant_id)
            kept.previous_expires_at.FromDatetime(clock.now())
            await directory.store.save(kept)
        await until_code(lambda: client.log_in(ANN, old), 535)
        assert await code(new) == 235
        forced = await act(harness, "POST", f"{path}/rotate", {"grace_s": 0, "force": True})
        assert forced["previous_password_expires_at"] is None
        assert [await code(one) for one in (new, forced["password"])] == [535, 235]


async def test_a_paused_and_a_deleted_mailbox_are_refused_in_every_replica(
    harness: IngestHarness,
) -> None:
    harness.serve_submission()
    elsewhere = Ports.find_free()
    async with harness.running(elsewhere):
        await harness.sign_up()
        made = await act(harness, "POST", "/v1/mailboxes", {"address": ANN})
        path, password = f"/v1/mailboxes/{made['id']}", made["password"]
        there = Client(harness, elsewhere)
        session = await in_thread(there.open)
        assert (await in_thread(lambda: try_login(session, ANN, password)))[0] == 235
        assert (await in_thread(lambda: submit(session, letter())))[0] == 250

        await act(harness, "PATCH", path, {"status": "paused"})
        await until_refused(lambda: there.log_in(ANN, password), b"525 5.7.13")
        code, text = await in_thread(lambda: submit(session, letter()))
        assert (code, text[:5]) == (550, b"5.7.1")
        await act(harness, "PATCH", path, {"status": "active"})
        await until_code(lambda: there.log_in(ANN, password), 235)
        assert (await in_thread(lambda: submit(session, letter())))[0] == 250

        await act(harness, "DELETE", path)
        await until_refused(lambda: there.log_in(ANN, password), b"535 5.7.8")
        code, _ = await in_thread(lambda: submit(session, letter()))
        assert code == 530
        await in_thread(session.close)
        assert (await harness.request("GET", path)).status == 404


async def until_refused(attempt: Callable[[], tuple[int, bytes]], reply: bytes) -> None:
    while (found := await in_thread(attempt))[0] == 235:
        await asyncio.sleep(0.02)
    assert b"%d %b" % found == reply + b"%b" % (b"%d %b" % found)[len(reply) :]


async def until_code(attempt: Callable[[], tuple[int, bytes]], wanted: int) -> None:
    async def has_come() -> bool:
        return (await in_thread(attempt))[0] == wanted

    await until(has_come)
