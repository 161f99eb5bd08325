"""`obm brand` in a shell: a client of the API."""

import asyncio

from tests.support.ingest import IngestHarness
from tests.support.shell import Shell
from tests.support.stack import harness_fixture

harness = harness_fixture(IngestHarness, scope="function")
OPTIONS = ("--slug", "resale", "--sandbox-domain", "box.resale.example")


async def test_a_brand_is_created_changed_given_to_an_account_and_removed(
    harness: IngestHarness,
) -> None:
    async with harness.running():
        url = f"http://127.0.0.1:{harness.ports.ingest_http}/v1"
        shell = Shell({"OBM_API_URL": url, "OBM_OPERATOR_KEY": await harness.operator_key()})

        async def obm(*arguments: str) -> str:
            return await asyncio.to_thread(shell.obm, *arguments)

        async def refused(*arguments: str) -> str:
            return await asyncio.to_thread(shell.refused, *arguments)

        hosts = ("--api-host", "api.resale.example", "--api-host", "api2.resale.example")
        made = await obm("brand", "create", "Resale  Mail", *OPTIONS, *hosts)
        assert "api.resale.example is a host of another brand" in await refused(
            "brand", "create", "Other", *OPTIONS, *hosts
        )
        await obm("account", "create", "One", "--brand", "Resale Mail")
        assert made in await obm("account", "list")
        assert "An account has this brand" in await refused("brand", "remove", made)

        await obm("brand", "update", made, "--smtp-host", "smtp.resale.example", "--api-host", "")
        shown = await obm("brand", "show", "Resale Mail")
        assert "smtp_host         smtp.resale.example" in shown
        assert "api_hosts" not in shown
        assert "urn:resale:problem:" in shown

        listed = await obm("brand", "list")
        assert "default" in listed
        assert "smtp.resale.example" in listed
        assert "Change it there" in await refused("brand", "remove", "default")
        await obm("account", "change", "One", "--brand", "default")
        await obm("brand", "remove", "Resale Mail")
        assert "There is no brand 'Resale Mail'" in await refused("brand", "show", "Resale Mail")
        await obm("account", "remove", "One")
