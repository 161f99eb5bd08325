"""`obm mailbox` in a shell."""

import asyncio

import pytest

from contracts.ingest.v1.directory_pb2 import Mailbox, MailboxStatus
from kernel.crypto import sha256
from tests.support.shell import DatabaseShell
from tests.support.stack import FreshDatabase

ANN = "ann@boxes.example.net"


@pytest.fixture(scope="module")
def shell(database: FreshDatabase) -> DatabaseShell:
    made = DatabaseShell(database)

    async def add_tenant() -> None:
        async with made.directory() as directory:
            account = await directory.add_account("Boxes")
            tenant = await directory.add_tenant(account.account_id, "boxes")
            for name, verified in (("boxes.example.net", True), ("new.example.net", False)):
                await directory.add_domain(name, tenant=tenant.tenant_id, verified=verified)

    asyncio.run(add_tenant())
    return made


def stored(shell: DatabaseShell) -> Mailbox:
    [line] = [line for line in shell.obm("mailbox", "list").splitlines() if ANN in line]
    mailbox_id = next(word for word in line.split() if word.count("-") == 4)
    return Mailbox.FromString(shell.record("mailboxes", mailbox_id))


def test_a_mailbox_is_created_rotated_paused_and_deleted(shell: DatabaseShell) -> None:
    options = ("--tenant", "boxes", "--live")
    password = shell.obm("mailbox", "create", ANN, *options, "--per-day", "500")
    made = stored(shell)
    assert made.password_sha256 == sha256(password)
    assert (made.address, made.per_day_max, made.test) == (ANN, 500, False)
    assert "500/d" in shell.obm("mailbox", "list", "--tenant", "boxes")
    assert "already" in shell.refused("mailbox", "create", ANN, *options)
    unknown = shell.refused("mailbox", "create", "ann@bank.example", *options)
    assert "bank.example is not one of your domains" in unknown

    rotated = shell.obm("mailbox", "rotate", ANN, "--grace-s", "60")
    assert stored(shell).previous_sha256 == sha256(password)
    assert stored(shell).password_sha256 == sha256(rotated)
    shell.obm("mailbox", "rotate", made.mailbox_id, "--grace-s", "0")
    assert not stored(shell).previous_sha256
    shell.obm("mailbox", "pause", ANN)
    assert stored(shell).status == MailboxStatus.MAILBOX_STATUS_PAUSED
    shell.obm("mailbox", "resume", ANN)
    assert stored(shell).status == MailboxStatus.MAILBOX_STATUS_ACTIVE

    assert made.mailbox_id in shell.obm("mailbox", "delete", ANN)
    assert ANN not in shell.obm("mailbox", "list")
    assert "no single mailbox" in shell.refused("mailbox", "delete", ANN)


def test_a_domain_that_is_not_verified_has_test_mailboxes_only(shell: DatabaseShell) -> None:
    address = "ann@new.example.net"
    refused = shell.refused("mailbox", "create", address, "--tenant", "boxes", "--live")
    assert "not verified" in refused
    shell.obm("mailbox", "create", address, "--tenant", "boxes", "--test")
