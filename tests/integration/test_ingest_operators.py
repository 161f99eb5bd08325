"""An operator sets up the tenants and domains of an account by the API; an account sees its own."""

from functools import partial
from uuid import uuid4

from tests.support.ingest import IngestHarness
from tests.support.stack import shared_harness_fixture

WITH_HOST = partial(IngestHarness, extra={"bounce_mx": "mx.example.net"})
harness = shared_harness_fixture(WITH_HOST)
TENANT = "X-Tenant-Id"


async def names(harness: IngestHarness, path: str, key: str, **headers: str) -> list[str]:
    found = await harness.request("GET", path, key=key, headers=headers)
    assert found.status == 200, found.raw
    return [one["name"] for one in found.json["data"]]


async def test_an_operator_adds_domains_for_the_tenant_that_it_names(
    harness: IngestHarness,
) -> None:
    async with harness.shared():
        operator = await harness.operator_key()
        _, key = await harness.make_account(operator, "Acme")
        shop = await harness.make("/v1/tenants", key, name="Shop")
        blog = await harness.make("/v1/tenants", key, name="Blog")
        headers = {TENANT: shop["id"]}
        body = {"name": "shop.example.net", "vouched": True}
        unnamed = await harness.request("POST", "/v1/domains", body, key=operator)
        assert (unnamed.status, unnamed.json["name"]) == (422, "missing_required_field")
        missing = await harness.request(
            "POST", "/v1/domains", body, key=operator, headers={TENANT: str(uuid4())}
        )
        assert missing.status == 404
        made = await harness.request("POST", "/v1/domains", body, key=operator, headers=headers)
        assert (made.json["status"], made.json["vouched"]) == ("verified", True)
        assert made.json["tenant_id"] == shop["id"]
        for name, shared in (("a.example.net", True), ("b.example.net", False)):
            body = {"name": name, "shared": shared}
            added = await harness.request("POST", "/v1/domains", body, key=key, headers=headers)
            assert added.status == 201, added.raw

        every = ["b.example.net", "a.example.net", "shop.example.net"]
        assert await names(harness, "/v1/domains", key) == every
        assert await names(harness, "/v1/domains", operator) == every
        assert await names(harness, "/v1/domains", key, **headers) == every
        assert await names(harness, "/v1/domains", key, **{TENANT: blog["id"]}) == every[1:2]
        assert await names(harness, "/v1/domains?name=A.Example.Net", key) == every[1:2]
        assert await names(harness, "/v1/domains?limit=1", key) == every[:1]
        _, stranger = await harness.make_account(operator, "Stranger")
        assert await names(harness, "/v1/domains", stranger) == []
        entries = await harness.request("GET", "/v1/audit?action=domain.create", key=key)
        kinds = [one["actor"]["kind"] for one in entries.json["data"]]
        assert kinds == ["account", "account", "operator"]


async def test_only_an_operator_vouches_for_domains_and_sets_what_protects_others(
    harness: IngestHarness,
) -> None:
    async with harness.shared():
        operator = await harness.operator_key()
        _, key = await harness.make_account(operator, "Acme")
        shop = await harness.make("/v1/tenants", key, name="Shop", ambiguous_policy="fail")
        tenant_key = await harness.make("/v1/api-keys", key, name="shop", tenant_id=shop["id"])
        for body, by in (
            ({"name": "a.example.net", "vouched": True}, key),
            ({"name": "a.example.net", "vouched": True}, tenant_key["token"]),
            ({"name": "a.example.net", "shared": True}, tenant_key["token"]),
        ):
            refused = await harness.request(
                "POST", "/v1/domains", body, key=by, headers={TENANT: shop["id"]}
            )
            assert (refused.status, refused.json["name"]) == (403, "restricted_api_key")
        settings = {
            "pool_id": str(uuid4()), "hold_score": 2.5, "block_score": 7.0,
            "reputation_policy": "none",
        }  # fmt: skip
        for name, value in settings.items():
            if name.endswith("_score"):
                continue
            refused = await harness.request(
                "PATCH", f"/v1/tenants/{shop['id']}", {name: value}, key=key
            )
            assert (refused.status, name in refused.json["detail"]) == (403, True)
        changed = await harness.request(
            "PATCH", f"/v1/tenants/{shop['id']}", settings, key=operator
        )
        assert {name: changed.json[name] for name in settings} == settings
        assert changed.json["ambiguous_policy"] == "fail"
        wrong = await harness.request(
            "PATCH", f"/v1/tenants/{shop['id']}", {"pool_id": "x"}, key=operator
        )
        assert (wrong.status, wrong.json["errors"][0]["pointer"]) == (422, "#/pool_id")


async def test_text_that_the_database_cannot_store_is_refused(harness: IngestHarness) -> None:
    async with harness.shared():
        operator = await harness.operator_key()
        account, key = await harness.make_account(operator, "Acme")
        shop = await harness.make("/v1/tenants", key, name="Shop")
        for method, path, body in (
            ("PATCH", f"/v1/accounts/{account['id']}", {"plan": "a\0"}),
            ("PATCH", f"/v1/accounts/{account['id']}", {"billing_email": "a\0"}),
            ("POST", f"/v1/accounts/{account['id']}/suspend", {"reason": "a\0"}),
            ("POST", f"/v1/tenants/{shop['id']}/pause", {"reason": "a\0"}),
        ):
            refused = await harness.request(method, path, body, key=operator)
            assert refused.status == 422, refused.raw


async def test_an_account_has_a_plan_of_the_price_book(harness: IngestHarness) -> None:
    async with harness.shared():
        operator = await harness.operator_key()
        account = await harness.make("/v1/accounts", operator, name="Acme", plan="starter")
        path = f"/v1/accounts/{account['id']}"
        for method, where, body in (
            ("POST", "/v1/accounts", {"name": "Other", "plan": "large"}),
            ("PATCH", path, {"plan": "large"}),
        ):
            refused = await harness.request(method, where, body, key=operator)
            assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "#/plan")
            assert "There are pro, starter." in refused.json["detail"]
        for plan in ("pro", ""):
            changed = await harness.request("PATCH", path, {"plan": plan}, key=operator)
            assert changed.json["plan"] == (plan or None)


async def test_an_account_sets_scores_as_far_as_the_operator_admits(
    harness: IngestHarness,
) -> None:
    harness.extra["block_score_max"] = 0.0
    async with harness.running():
        operator = await harness.operator_key()
        _, key = await harness.make_account(operator, "Acme")
        shop = await harness.make("/v1/tenants", key, name="Shop", hold_score=4.5)
        assert shop["hold_score"] == 4.5
        path = f"/v1/tenants/{shop['id']}"
        for score in (5.0, 0.0):
            changed = await harness.request("PATCH", path, {"hold_score": score}, key=key)
            assert changed.json["hold_score"] == (score or None)
        refused = await harness.request("PATCH", path, {"hold_score": 5.1}, key=key)
        assert refused.status == 422
        assert refused.json["errors"][0]["pointer"] == "#/hold_score"
        refused = await harness.request("PATCH", path, {"block_score": 9.0}, key=key)
        assert (refused.status, refused.json["name"]) == (403, "restricted_api_key")
        scores = {"hold_score": 50.0, "block_score": 60.0}
        changed = await harness.request("PATCH", path, scores, key=operator)
        assert {name: changed.json[name] for name in scores} == scores
        kept = await harness.request("PATCH", path, {"name": "Shop 2"}, key=key)
        assert kept.json["hold_score"] == 50.0
