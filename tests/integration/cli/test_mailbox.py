"""`obm mailbox` in a shell."""

import pytest

from contracts.ingest.v1.directory_pb2 import Mailbox, MailboxStatus
from kernel.crypto import sha256
from tests.integration.cli.test_directory import HOST, Shell
from tests.support.stack import FreshDatabase

ANN = "ann@boxes.example.net"


@pytest.fixture(scope="module")
def shell(database: FreshDatabase) -> Shell:
    made = Shell(database)
    made.obm("account", "create", "Boxes")
    made.obm("tenant", "create", "boxes", "--account", "Boxes")
    made.obm("domain", "add", "boxes.example.net", "--tenant", "boxes", "--verified", *HOST)
    return made


def stored(shell: Shell) -> Mailbox:
    [line] = [line for line in shell.obm("mailbox", "list").splitlines() if ANN in line]
    mailbox_id = next(word for word in line.split() if word.count("-") == 4)
    return Mailbox.FromString(shell.record("mailboxes", mailbox_id))


def test_a_mailbox_is_created_rotated_paused_and_deleted(shell: Shell) -> None:
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

    assert "has a mailbox" in remove_tenant_without_domain(shell)
    assert made.mailbox_id in shell.obm("mailbox", "delete", ANN)
    assert ANN not in shell.obm("mailbox", "list")
    assert "no single mailbox" in shell.refused("mailbox", "delete", ANN)


def remove_tenant_without_domain(shell: Shell) -> str:
    shell.obm("domain", "remove", "boxes.example.net")
    return shell.refused("tenant", "remove", "boxes")


def test_a_domain_that_is_not_verified_has_test_mailboxes_only(shell: Shell) -> None:
    shell.obm("domain", "add", "new.example.net", "--tenant", "boxes", *HOST)
    address = "ann@new.example.net"
    refused = shell.refused("mailbox", "create", address, "--tenant", "boxes", "--live")
    assert "not verified" in refused
    shell.obm("mailbox", "create", address, "--tenant", "boxes", "--test")
