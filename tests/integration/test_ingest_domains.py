"""Domains by API: added, verified by DNS, used, deleted."""

import asyncio
from functools import partial
from typing import Any

import pytest

from tests.support.ingest import IngestHarness, email
from tests.support.polling import until
from tests.support.stack import shared_harness_fixture

NAME = "shop.customer.org"


WITH_HOST = partial(IngestHarness, extra={"bounce_mx": "mx.platform.org"})
harness = shared_harness_fixture(WITH_HOST)


async def create(harness: IngestHarness, **fields: Any) -> Any:  # noqa: ANN401 - JSON
    made = await harness.request("POST", "/v1/domains", {"name": NAME, **fields})
    assert made.status == 201, made.json
    return made.json


async def test_live_mail_is_refused_until_the_domain_is_verified(harness: IngestHarness) -> None:
    async with harness.shared():
        live = await harness.sign_up(test=False)
        made = await create(harness)
        assert made["status"] == "not_started"
        key = {"name": "test", "test": True}
        test = (await harness.request("POST", "/v1/api-keys", key)).json["token"]
        body = email(**{"from": f"a@{NAME}", "to": "ann@recipient.org"})

        refused = await harness.request("POST", "/v1/emails", body, key=live)
        assert refused.status == 403
        assert refused.json["name"] == "invalid_from_address"
        assert made["records"][0]["name"] in refused.json["detail"]
        sandbox = {**body, "test": True}
        assert (await harness.request("POST", "/v1/emails", sandbox, key=live)).status == 202
        assert (await harness.request("POST", "/v1/emails", body, key=test)).status == 202


async def test_two_accounts_hold_one_name_with_selectors_of_their_own(
    harness: IngestHarness,
) -> None:
    async with harness.shared():
        records = []
        for holder in ("one.obm-sandbox.net", "two.obm-sandbox.net"):
            await harness.sign_up(test=False, domain=holder)
            records.append((await create(harness))["records"])
            again = await harness.request("POST", "/v1/domains", {"name": NAME})
            assert (again.status, again.json["name"]) == (409, "already_exists")
        first, second = ({one["name"] for one in some} for some in records)
        assert not {one for one in first & second if "_domainkey" in one}


async def test_the_records_to_publish_are_in_the_answer(harness: IngestHarness) -> None:
    async with harness.shared():
        await harness.sign_up(test=False)
        made = await create(harness, custom_return_path="send")
        kinds = [(one["record"], one["type"], one["status"]) for one in made["records"]]
        assert kinds == [
            ("DKIM", "TXT", "not_started"),
            ("DKIM", "TXT", "not_started"),
            ("SPF", "TXT", "not_started"),
            ("SPF", "MX", "not_started"),
            ("DMARC", "TXT", "not_started"),
            ("TLS-RPT", "TXT", "not_started"),
        ]
        for one, prefix in zip(made["records"][4:], ("rua", "tls"), strict=True):
            assert f"; rua=mailto:{prefix}+" in one["value"]
            assert one["value"].endswith(f"@send.{NAME}")
        assert {one["name"] for one in made["records"][2:4]} == {f"send.{NAME}"}
        got = await harness.request("GET", f"/v1/domains/{made['id']}")
        assert got.json == made
        listed = await harness.request("GET", "/v1/domains?limit=1")
        assert listed.json["data"][0]["status"] == "not_started"
        patch = await harness.request("PATCH", f"/v1/domains/{made['id']}", {"tls": "always"})
        assert (patch.status, patch.json["errors"][0]["pointer"]) == (422, "#/tls")
        await harness.request("DELETE", f"/v1/domains/{made['id']}?force=true")
        gone = await harness.request("GET", f"/v1/domains/{made['id']}")
        assert gone.status == 404


async def test_tls_can_be_enforced_for_the_mail_of_a_domain(harness: IngestHarness) -> None:
    async with harness.shared():
        await harness.sign_up(test=False)
        made = await create(harness, tls="enforced")
        path = f"/v1/domains/{made['id']}"
        assert made["tls"] == "enforced"
        for changes, tls in (
            ({"open_tracking": False}, "enforced"),
            ({"tls": "opportunistic"}, "opportunistic"),
            ({"tls": "enforced", "id": made["id"]}, "enforced"),
        ):
            changed = await harness.request("PATCH", path, changes)
            assert (changed.status, changed.json["tls"]) == (200, tls)
        assert (await harness.request("GET", path)).json["tls"] == "enforced"


async def test_an_email_requires_tls_by_itself_or_by_its_domain(harness: IngestHarness) -> None:
    async with harness.shared():
        live = await harness.sign_up(test=False)
        to = "ann@recipient.org"
        for fields, enforced in (({}, False), ({"tls": "enforced"}, True)):
            sent = await harness.request("POST", "/v1/emails", email(to=to, **fields), key=live)
            [accepted] = await harness.accepted(sent.json["id"])
            assert accepted.context.tls_enforced == enforced
        refused = await harness.request("POST", "/v1/emails", email(to=to, tls="never"), key=live)
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "#/tls")


@pytest.mark.parametrize("name", ["co.uk", "localhost", "10.0.0.1", "a..b", "x" * 64 + ".org", ""])
async def test_a_name_that_cannot_send_is_refused(harness: IngestHarness, name: str) -> None:
    async with harness.shared():
        await harness.sign_up(test=False)
        refused = await harness.request("POST", "/v1/domains", {"name": name})
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "#/name")


async def test_a_test_key_or_a_key_of_one_domain_adds_none(harness: IngestHarness) -> None:
    async with harness.shared():
        await harness.sign_up(test=True)
        assert (await harness.request("POST", "/v1/domains", {"name": NAME})).status == 403
        await harness.sign_up(test=False)
        made = await create(harness)
        bound = {"name": "bound", "domain_id": made["id"]}
        key = (await harness.request("POST", "/v1/api-keys", bound)).json["token"]
        other = await harness.request("POST", "/v1/domains", {"name": "b.org"}, key=key)
        assert (other.status, other.json["name"]) == (403, "restricted_api_key")
        own = await harness.request("POST", f"/v1/domains/{made['id']}/verify", {}, key=key)
        assert own.json == {"object": "domain", "id": made["id"]}

        async def pending() -> bool:
            got = await harness.request("GET", f"/v1/domains/{made['id']}")
            return bool(got.json["status"] == "pending")

        await until(pending)


async def test_a_tenant_has_no_more_domains_than_it_may_however_they_are_added(
    harness: IngestHarness,
) -> None:
    harness.extra["tenant_domains_max"] = 3
    async with harness.running():
        await harness.sign_up(test=False)
        names = [f"shop{number}.customer.org" for number in range(6)]
        answers = await asyncio.gather(
            *(harness.request("POST", "/v1/domains", {"name": name}) for name in names)
        )
        assert sorted(one.status for one in answers) == [201] * 2 + [422] * 4
        assert {one.json["errors"][0]["code"] for one in answers if one.status == 422} == {
            "too_many"
        }
