"""What operators do to limits, pools, sources and overrides is in the audit log of the account that
it concerns, and of no other."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.accounts import add_account_key, create_account, keys_of_callers
from tests.support.directory import CreatedAccount
from tests.support.engine import Engine

ADDRESS = "192.0.2.88"


@pytest.fixture
def operator(engine: Engine) -> Iterator[httpx.Client]:
    key = keys_of_callers(engine.environment)["accounts"]
    with client(engine, key) as http:
        yield http


def client(engine: Engine, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=engine.url, headers=headers, timeout=120)


def new_account(engine: Engine, domain: str) -> tuple[CreatedAccount, httpx.Client]:
    made = create_account(engine.environment, domain)
    return made, client(engine, add_account_key(engine.environment, made.account_id))


def acts(account: httpx.Client) -> list[tuple[str, str | None]]:
    """Of operators, with the tenant that each concerned, oldest first."""
    found = account.get("/audit", params={"limit": "100"}).json()["data"]
    by_operator = [one for one in found if one["actor"]["kind"] == "operator"]
    return [(one["action"], one["tenant_id"]) for one in reversed(by_operator)]


def ok(response: httpx.Response) -> Any:  # noqa: ANN401 - JSON
    assert response.is_success, response.text
    return response.json()


def test_an_account_finds_the_acts_on_what_is_its_own(
    engine: Engine, operator: httpx.Client
) -> None:
    made, account = new_account(engine, "acts.obm-sandbox.net")
    _, stranger = new_account(engine, "no-acts.obm-sandbox.net")
    tenant = made.tenant_id
    pool = ok(operator.post("/pools", json={"name": "of acts"}))["id"]
    default = ok(operator.get("/pools", params={"name": "default"}))["data"][0]["id"]
    ok(operator.patch(f"/tenants/{tenant}", json={"pool_id": pool}))
    ok(operator.patch(f"/pools/{pool}", json={"overflow_pool_id": default}))
    ip = ok(operator.post("/ips", json={"addresses": [ADDRESS], "pool_id": pool}))["id"]
    ok(operator.post(f"/ips/{ip}/warmup", json={"action": "start"}))
    ok(operator.post(f"/ips/{ip}/suspend", json={"until": "in 1 hour", "site": "yahoo"}))
    ok(operator.post(f"/ips/{ip}/resume", json={"site": "yahoo"}))
    [key] = ok(operator.get("/api-keys", headers={"X-Tenant-Id": tenant}))["data"]
    for scope in (
        f"tenant/{tenant}", f"tenant_site/{tenant}/yahoo", f"api_key/{key['id']}", f"pool/{pool}",
        f"egress_site/{ip}/yahoo", "site/yahoo", f"pool/{default}", "tenant/nobody",
    ):  # fmt: skip
        ok(operator.put("/limits", json={"scope": scope, "per_hour": 1_000_000}))
        ok(operator.put("/limits", json={"scope": scope}))
    override = ok(operator.post("/overrides", json={"tenant_id": tenant, "per_minute": 9}))
    ok(operator.delete(f"/overrides/{override['id']}"))
    ok(operator.delete(f"/ips/{ip}"))
    ok(operator.delete(f"/pools/{pool}"))

    names = [
        "tenant.update", "pool.update", "ip.create", "ip.warmup_start", "override.create",
        "ip.resume", *["limits.set"] * 10, "override.create", "override.delete", "ip.delete",
        "pool.delete",
    ]  # fmt: skip
    assert acts(account) == [(name, tenant) for name in names]
    assert acts(stranger) == []
    [limits] = [
        one
        for one in ok(account.get("/audit", params={"action": "limits.set"}))["data"]
        if one["after"]["scope"] == f"tenant/{tenant}" and "per_hour" in one["after"]
    ]
    assert (limits["before"], limits["after"]["per_hour"]) == (None, "1000000")
