"""A credential that is revoked or changed by one replica is refused by another within a second: by
REST, by gRPC and by SMTP."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import pytest

from cli.environment import Ports
from contracts.ingest.v1 import email_service_pb2 as pb
from contracts.ingest.v1.email_service_pb2_grpc import EmailServiceStub
from contracts.ingest.v1.mailbox_service_pb2 import UpdateMailboxRequest
from contracts.ingest.v1.mailbox_service_pb2_grpc import MailboxServiceStub
from tests.support.ingest import DOMAIN, IngestHarness, email
from tests.support.mailboxes import Client, act, in_thread, letter, submit, try_login
from tests.support.stack import harness_fixture

harness = harness_fixture(IngestHarness, scope="function")
IN_FORCE_S = 1.0
PAUSE_S = 0.02
TIMES = 3
Attempt = Callable[[], Awaitable[bool]]
"""Whether the other replica accepts a credential."""


async def last_accepted_s(attempt: Attempt) -> float:
    """When, after now, the last attempt began that was accepted. Measured at its beginning, so that
    a busy machine does not count; with pauses, so that the attempts do not make it busy."""
    began_s, last_s = time.monotonic(), 0.0
    while True:
        at_s = time.monotonic() - began_s
        if not await attempt():
            return last_s
        last_s = at_s
        await asyncio.sleep(PAUSE_S)


def metadata(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


def by_rest(harness: IngestHarness, other: Ports, key: str) -> Attempt:
    async def attempt() -> bool:
        port = other.ingest_http
        response = await harness.request("POST", "/v1/emails", email(), key=key, port=port)
        assert response.status in {202, 403}, response.raw
        return response.status == 202

    return attempt


def by_grpc(channel: grpc.aio.Channel, key: str) -> Attempt:
    fields: Any = {"from": f"hello@{DOMAIN}", "to": ["delivered@obm-sandbox.net"]}
    message = pb.Email(**fields, subject="Hi", text="Hi")

    async def attempt() -> bool:
        request = pb.SendEmailRequest(email=message)
        try:
            await EmailServiceStub(channel).SendEmail(request, metadata=metadata(key))
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.PERMISSION_DENIED:
                raise
            return False
        return True

    return attempt


def by_smtp(harness: IngestHarness, other: Ports, password: str, username: str) -> Attempt:
    async def attempt() -> bool:
        code, text = await in_thread(lambda: Client(harness, other).log_in(username, password))
        assert code in {235, 525, 535}, text
        return code == 235

    return attempt


def by_open_session(harness: IngestHarness, other: Ports, password: str) -> Attempt:
    client = Client(harness, other).open()
    assert try_login(client, "any", password)[0] == 235

    async def attempt() -> bool:
        sender = f"hello@{DOMAIN}"
        code, text = await in_thread(lambda: submit(client, letter(sender), sender))
        assert code in {250, 530}, text
        if code != 250:
            with suppress(OSError):
                client.close()
        return code == 250

    return attempt


@pytest.mark.parametrize("act_name", ["delete", "rotate"])
async def test_an_api_key(harness: IngestHarness, act_name: str) -> None:
    harness.serve_submission()
    harness.extra["key_rate_limit_per_s"] = 10_000
    other = Ports.find_free()
    address = f"127.0.0.1:{other.ingest_grpc}"
    async with harness.running(other), grpc.aio.insecure_channel(address) as channel:
        await harness.sign_up()
        waits: dict[str, list[float]] = {}
        for _ in range(TIMES):
            for name in ("REST", "gRPC", "SMTP login", "SMTP session"):
                made = await harness.make("/v1/api-keys", harness.key, name="shop")
                key = made["token"]
                attempt = {
                    "REST": lambda key=key: by_rest(harness, other, key),
                    "gRPC": lambda key=key: by_grpc(channel, key),
                    "SMTP login": lambda key=key: by_smtp(harness, other, key, "any"),
                    "SMTP session": lambda key=key: by_open_session(harness, other, key),
                }[name]
                attempts = await in_thread(attempt)
                assert await attempts(), name
                path = f"/v1/api-keys/{made['id']}"
                if act_name == "delete":
                    await act(harness, "DELETE", path)
                else:
                    await act(harness, "POST", f"{path}/rotate", {"grace_s": 0})
                waits.setdefault(name, []).append(await last_accepted_s(attempts))
        check(act_name, waits)


async def test_a_mailbox(harness: IngestHarness) -> None:
    """Changed by REST, and by gRPC."""
    harness.serve_submission()
    other = Ports.find_free()
    address = f"127.0.0.1:{harness.ports.ingest_grpc}"
    async with harness.running(other), grpc.aio.insecure_channel(address) as channel:
        await harness.sign_up()

        async def pause_by_grpc(mailbox_id: str) -> None:
            request = UpdateMailboxRequest(id=mailbox_id, status="paused")
            await MailboxServiceStub(channel).UpdateMailbox(request, metadata=metadata(harness.key))

        async def pause(mailbox_id: str) -> None:
            await act(harness, "PATCH", f"/v1/mailboxes/{mailbox_id}", {"status": "paused"})

        async def rotate(mailbox_id: str) -> None:
            await act(harness, "POST", f"/v1/mailboxes/{mailbox_id}/rotate", {"grace_s": 0})

        async def delete(mailbox_id: str) -> None:
            await act(harness, "DELETE", f"/v1/mailboxes/{mailbox_id}")

        waits: dict[str, list[float]] = {}
        for number in range(TIMES):
            for change in (pause, pause_by_grpc, rotate, delete):
                username = f"{change.__name__}{number}@{DOMAIN}"
                made = await act(harness, "POST", "/v1/mailboxes", {"address": username})
                attempt = by_smtp(harness, other, made["password"], username)
                assert await attempt()
                await change(made["id"])
                waits.setdefault(change.__name__, []).append(await last_accepted_s(attempt))
        check("mailbox", waits)


def check(what: str, waits: dict[str, list[float]]) -> None:
    for name, found in waits.items():
        print(f"{what}, {name}: last accepted after", ", ".join(f"{one:.2f} s" for one in found))
    assert max(max(found) for found in waits.values()) < IN_FORCE_S, waits
