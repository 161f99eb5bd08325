"""Submission with the key of an account, whose username names the tenant; and the brand of the
account in the session."""

import smtplib
from typing import Any

from tests.support.ingest import IngestHarness
from tests.support.mailboxes import Client, in_thread, letter, try_login
from tests.support.stack import harness_fixture

harness = harness_fixture(IngestHarness, scope="function")
SENDER = "ann@accounts.example.net"
RECIPIENT = "bob@receiver.com"
BRANDS = """
[default]
name = "Zenith"
slug = "zenith"
sandbox_domain = "zenith-sandbox.net"
smtp_host = "smtp.zenith.example"

[partner]
name = "Partner"
slug = "partner"
sandbox_domain = "partner-sandbox.net"
smtp_host = "smtp.partner.example"
"""


async def account_with_tenant(harness: IngestHarness, **fields: object) -> tuple[Any, str]:
    """A tenant `customer-17` that can send from the domain of SENDER, and the account's key."""
    operator = await harness.operator_key()
    account = await harness.make("/v1/accounts", operator, name="Submitting", **fields)
    key = await harness.make(
        "/v1/api-keys", operator, name="k", kind="account", account_id=account["id"]
    )
    tenant = await harness.make("/v1/tenants", key["token"], name="Shop", external_id="customer-17")
    async with harness.directory() as directory:
        domain = SENDER.partition("@")[2]
        await directory.add_domain(domain, tenant=tenant["id"], verified=True)
    return tenant, key["token"]


async def test_the_key_of_an_account_sends_for_the_tenant_that_the_username_names(
    harness: IngestHarness,
) -> None:
    harness.serve_submission()
    async with harness.running():
        tenant, key = await account_with_tenant(harness)
        stranger = await harness.make("/v1/tenants", key, name="Other", external_id="customer-18")
        client, message = Client(harness), letter(SENDER)
        for username in (tenant["id"], "customer-17"):
            code, text = await in_thread(
                lambda username=username: client.send(  # type: ignore[misc]
                    username, key, message, sender=SENDER, to=RECIPIENT
                )
            )
            assert code == 250, text
            [accepted] = await harness.accepted(text.decode().rpartition(" ")[2])
            assert accepted.context.tenant_id == tenant["id"]
            assert accepted.context.api_key_id
        code, text = await in_thread(
            lambda: client.send("customer-18", key, message, sender=SENDER, to=RECIPIENT)
        )
        assert (code, text[:5]) == (550, b"5.7.1")  # another tenant has another domain
        for username in ("customer-19", harness.tenant_id or "any", stranger["account_id"]):
            code, text = await in_thread(lambda name=username: client.log_in(name, key))  # type: ignore[misc]
            assert (code, b"the id or the external_id of one of its tenants" in text) == (535, True)


async def test_the_session_has_the_name_of_the_accounts_brand(harness: IngestHarness) -> None:
    harness.serve_submission()
    brands = harness.folder / "brands.toml"
    brands.write_text(BRANDS)
    harness.extra |= {"brands_file": str(brands), "submission_hostname": "mail.neutral.example"}
    async with harness.running():
        tenant, key = await account_with_tenant(harness, brand="partner")
        session = await in_thread(Client(harness).open)
        assert await ehlo(session) == "mail.neutral.example"  # nobody knows the brand yet
        assert (await in_thread(lambda: try_login(session, "customer-17", key)))[0] == 235
        assert await ehlo(session) == "smtp.partner.example"
        await in_thread(session.close)

        made = await harness.request(
            "POST", "/v1/mailboxes", {"address": SENDER}, key=key,
            headers={"X-Tenant-Id": tenant["id"]},
        )  # fmt: skip
        assert made.json["smtp"]["host"] == "smtp.partner.example"
        session = await in_thread(Client(harness).open)
        password = made.json["password"]
        assert (await in_thread(lambda: try_login(session, SENDER, password)))[0] == 235
        assert await ehlo(session) == "smtp.partner.example"
        await in_thread(session.close)


async def ehlo(session: smtplib.SMTP) -> str:
    _, text = await in_thread(session.ehlo)
    return text.decode().splitlines()[0]
