"""`obm mailbox` in a shell: a client of the API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from contracts.ingest.v1.directory_pb2 import Mailbox, MailboxStatus
from kernel.crypto import sha256
from tests.support.ingest import IngestHarness
from tests.support.shell import Shell
from tests.support.stack import harness_fixture

harness = harness_fixture(IngestHarness, scope="function")
ANN = "ann@boxes.example.net"
OPTIONS = ("--tenant", "boxes", "--live")


class MailboxShell:
    """`obm mailbox`, with the API only, and what is stored."""

    def __init__(self, harness: IngestHarness, operator_key: str) -> None:
        url = f"http://127.0.0.1:{harness.ports.ingest_http}/v1"
        self._shell = Shell({"OBM_API_URL": url, "OBM_OPERATOR_KEY": operator_key})
        self._harness = harness

    async def obm(self, *arguments: str) -> str:
        return await asyncio.to_thread(self._shell.obm, "mailbox", *arguments)

    async def refused(self, *arguments: str) -> str:
        return await asyncio.to_thread(self._shell.refused, "mailbox", *arguments)

    async def stored(self, address: str = ANN) -> Mailbox:
        async with self._harness.directory() as directory:
            found = await directory.store.list_all(Mailbox)
        [one] = [one for one in found if one.address == address]
        return one


@asynccontextmanager
async def shell_of(harness: IngestHarness) -> AsyncIterator[MailboxShell]:
    """With a tenant `boxes` that has a domain that is verified and one that is not."""
    async with harness.running():
        async with harness.directory() as directory:
            account = await directory.add_account("Boxes")
            tenant = await directory.add_tenant(account.account_id, "boxes")
            for name, verified in (("boxes.example.net", True), ("new.example.net", False)):
                await directory.add_domain(name, tenant=tenant.tenant_id, verified=verified)
        yield MailboxShell(harness, await harness.operator_key())
        async with harness.directory() as directory:
            tenant.deleted = True
            await directory.store.save(tenant)


async def test_a_mailbox_is_created_changed_and_shown(harness: IngestHarness) -> None:
    async with shell_of(harness) as shell:
        password = await shell.obm("create", ANN, *OPTIONS, "--per-day", "500")
        made = await shell.stored()
        assert made.password_sha256 == sha256(password)
        assert (made.per_day_max, made.test) == (500, False)
        assert "500/d" in await shell.obm("list", "--tenant", "boxes")
        await shell.obm("change", ANN, "--per-hour", "50", "--any-address")
        changed = await shell.stored()
        assert (changed.per_hour_max, changed.per_day_max, changed.any_address) == (50, 500, True)
        shown = await shell.obm("show", ANN)
        assert made.mailbox_id in shown
        assert "50/h, 500/d" in shown


async def test_a_mailbox_is_rotated_paused_and_deleted(harness: IngestHarness) -> None:
    async with shell_of(harness) as shell:
        ann = "rotated@boxes.example.net"
        password = await shell.obm("create", ann, *OPTIONS)
        rotated = await shell.obm("rotate", ann, "--grace-s", "60")
        made = await shell.stored(ann)
        assert made.previous_sha256 == sha256(password)
        assert made.password_sha256 == sha256(rotated)
        assert "use force" in await shell.refused("rotate", ann)
        await shell.obm("rotate", made.mailbox_id, "--grace-s", "0", "--force")
        assert not (await shell.stored(ann)).previous_sha256
        await shell.obm("pause", ann)
        assert (await shell.stored(ann)).status == MailboxStatus.MAILBOX_STATUS_PAUSED
        await shell.obm("resume", ann)
        assert (await shell.stored(ann)).status == MailboxStatus.MAILBOX_STATUS_ACTIVE
        assert made.mailbox_id in await shell.obm("delete", ann)
        assert ann not in await shell.obm("list")


async def test_an_error_is_one_line_with_the_reason(harness: IngestHarness) -> None:
    ann = "refused@boxes.example.net"
    async with shell_of(harness) as shell:
        await shell.obm("create", ann, *OPTIONS)
        assert "already" in await shell.refused("create", ann, *OPTIONS)
        unknown = await shell.refused("create", "ann@bank.example", *OPTIONS)
        assert "bank.example is not one of your domains" in unknown
        assert "not verified" in await shell.refused("create", "ann@new.example.net", *OPTIONS)
        assert "There is no mailbox" in await shell.refused("delete", "nobody@boxes.example.net")
        await shell.obm("create", ann, "--tenant", "boxes", "--test")
        assert "There is more than one mailbox" in await shell.refused("show", ann)
