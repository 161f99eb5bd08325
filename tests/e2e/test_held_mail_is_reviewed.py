"""Held mail is found, with why, and released or rejected: by the API and in a shell."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support.accounts import add_account_key, create_account, keys_of_callers
from tests.support.directory import CreatedAccount
from tests.support.engine import Engine
from tests.support.shell import Shell

DOMAIN = "held.obm-sandbox.net"
WITHIN_S = 120.0
LURE = """<p>Dear PayPal customer, verify your account information within 24 hours or it will be
permanently suspended.</p><a href="http://203.0.113.7/paypal.com/login">https://www.paypal.com/login
</a>"""


@pytest.fixture(scope="module")
def account(engine: Engine) -> CreatedAccount:
    """With mail that is held, not blocked, however bad it is."""
    made = create_account(engine.environment, DOMAIN, test=True)
    with client(engine, keys_of_callers(engine.environment)["accounts"]) as operator:
        ok(operator.patch(f"/tenants/{made.tenant_id}", json={"block_score": 1_000}))
    with client(engine, made.api_key) as api:
        until(lambda: api.post("/shield/score", json=lure("x")).json().get("verdict") == "hold")
    return made


@pytest.fixture
def api(engine: Engine, account: CreatedAccount) -> Iterator[httpx.Client]:
    with client(engine, account.api_key) as made:
        yield made


@pytest.fixture
def operator(engine: Engine) -> Iterator[httpx.Client]:
    with client(engine, keys_of_callers(engine.environment)["accounts"]) as made:
        yield made


def client(engine: Engine, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=engine.url, headers=headers, timeout=60)


def until(holds: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def ok(response: httpx.Response) -> Any:  # noqa: ANN401 - JSON
    assert response.is_success, response.text
    return response.json()


def lure(name: str) -> dict[str, str]:
    return {
        "from": f"PayPal Security <me@{DOMAIN}>",
        "to": f"delivered+{name}@obm-sandbox.net",
        "subject": "Your account has been suspended",
        "html": LURE,
    }


def hold(api: httpx.Client, name: str) -> str:
    """The id of the email."""
    email_id = str(ok(api.post("/emails", json=lure(name)))["id"])
    until(lambda: found(api, name))
    return email_id


def found(api: httpx.Client, name: str, **query: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = ok(api.get("/held", params=query))["data"]
    return [one for one in listed if one["recipient"].startswith(f"delivered+{name}@")]


def last_event(api: httpx.Client, email_id: str) -> str:
    return str(ok(api.get(f"/emails/{email_id}"))["last_event"])


def timeline(api: httpx.Client, email_id: str) -> dict[str, dict[str, Any]]:
    events = ok(api.get(f"/emails/{email_id}/events"))["data"]
    return {one["type"]: one["data"] for one in events}


def test_a_released_email_is_sent_and_its_timeline_names_the_reviewer(
    engine: Engine, account: CreatedAccount, api: httpx.Client
) -> None:
    email_id = hold(api, "good")
    [held] = found(api, "good")
    assert (held["email_id"], held["tenant_id"]) == (email_id, account.tenant_id)
    assert held["from"] == f"me@{DOMAIN}"
    assert held["test"]
    assert held["score"] >= 5
    assert held["reasons"][0]["explanation"]
    assert held["model_version"]
    assert held["held_at"] < held["expires_at"]
    assert found(api, "good", score_below=str(held["score"] + 1)) == [held]
    assert found(api, "good", score_below=str(held["score"])) == []
    assert found(api, "good", rule=held["reasons"][0]["rule"], sender=DOMAIN) == [held]
    assert found(api, "good", recipient_domain="example.net") == []

    done = ok(api.post(f"/emails/{email_id}/release", json={"reason": "asked the sender"}))
    assert done == {"object": "email", "id": email_id, "released": [held["id"]]}
    refused = api.post(f"/emails/{email_id}/reject")
    assert (refused.status_code, refused.json()["name"]) == (409, "not_held")
    until(lambda: last_event(api, email_id) == "delivered")
    until(lambda: "email.delivered" in timeline(api, email_id))
    review = timeline(api, email_id)["email.released"]["review"]
    assert (review["verdict"], review["reason"], review["by"]) == (
        "released", "asked the sender", "tenant",
    )  # fmt: skip
    assert review["score"] == held["score"]
    key = add_account_key(engine.environment, account.account_id)
    with client(engine, key) as owner:
        [entry] = audited(owner, "held_message.release", held["id"])
    assert (entry["actor"]["kind"], entry["actor"]["id"]) == ("tenant", review["key_id"])
    assert (entry["tenant_id"], entry["after"]["reason"]) == (account.tenant_id, "asked the sender")
    assert found(api, "good") == []


def audited(owner: httpx.Client, action: str, message_id: str) -> list[dict[str, Any]]:
    def entries() -> list[dict[str, Any]]:
        listed = ok(owner.get("/audit", params={"action": action, "limit": "100"}))["data"]
        return [one for one in listed if one["resource_id"] == message_id]

    until(entries)
    return entries()


def test_a_rejected_email_has_failed(api: httpx.Client, operator: httpx.Client) -> None:
    email_id = hold(api, "bad")
    [held] = found(operator, "bad")
    assert ok(operator.post("/held/reject", json={"ids": [held["id"]], "reason": "phishing"})) == {
        "object": "held_review", "found": 1, "reviewed": [held["id"]], "not_held": [], "next": None,
    }  # fmt: skip
    until(lambda: last_event(api, email_id) == "failed")
    until(lambda: {"email.failed", "message.rejected"} <= timeline(api, email_id).keys())
    events = timeline(api, email_id)
    assert events["email.failed"]["failed"]["reason"] == "rejected"
    assert events["message.rejected"]["review"]["by"] == "operator"
    again = ok(operator.post("/held/release", json={"ids": [held["id"]], "reason": "no"}))
    assert (again["reviewed"], again["not_held"]) == ([], [held["id"]])


def test_who_sees_and_reviews_what(
    engine: Engine, account: CreatedAccount, api: httpx.Client, operator: httpx.Client
) -> None:
    hold(api, "whose")
    stranger = create_account(engine.environment, "stranger.obm-sandbox.net", test=True)
    key = add_account_key(engine.environment, account.account_id)
    with client(engine, stranger.api_key) as other, client(engine, key) as owner:
        [held] = found(api, "whose")
        assert found(operator, "whose") == [held] == found(owner, "whose")
        assert found(other, "whose") == []
        answer = ok(other.post("/held/reject", json={"ids": [held["id"]], "reason": "mine"}))
        assert (answer["reviewed"], answer["not_held"]) == ([], [held["id"]])
        tenant = {"X-Tenant-Id": account.tenant_id}
        listed = ok(operator.get("/held", headers=tenant))["data"]
        assert held in listed
        done = ok(owner.post("/held/release", json={"ids": [held["id"]], "reason": "ours"}))
        assert done["reviewed"] == [held["id"]]


def test_a_filter_is_reviewed_in_pages(api: httpx.Client) -> None:
    names = [f"page{n}" for n in range(3)]
    for name in names:
        hold(api, name)
    body = {"filter": {"sender": DOMAIN}, "reason": "a test"}
    dry = ok(api.post("/held/release", json={**body, "dry_run": True}))
    assert (dry["found"], dry["reviewed"]) == (3, [])
    done = ok(api.post("/held/release", json=body))
    assert (done["found"], len(done["reviewed"]), done["next"]) == (3, 3, None)
    assert ok(api.post("/held/release", json=body))["found"] == 0


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"filter": {}, "reason": "x"}, "#/filter"),
        ({"reason": "x"}, "#"),
        ({"ids": ["1"], "reason": "x"}, "#/ids/0"),
        ({"filter": {"all": True}}, "#/reason"),
        ({"filter": {"all": True, "since": "soon"}, "reason": "x"}, "#/filter/since"),
        ({"filter": {"all": True}, "reason": "x", "after": "1"}, "#/after"),
        ({"ids": ["01890000-0000-7000-8000-000000000000"], "reason": "x", "dry_run": True}, "#"),
    ],
)
def test_wrong_reviews_are_refused(api: httpx.Client, body: dict[str, Any], pointer: str) -> None:
    refused = api.post("/held/release", json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == pointer


def test_an_operator_reviews_in_a_shell(
    engine: Engine, account: CreatedAccount, api: httpx.Client
) -> None:
    bad, good = hold(api, "shell-bad"), hold(api, "shell-good")
    [held] = found(api, "shell-bad")
    key = keys_of_callers(engine.environment)["accounts"]
    shell = Shell({"OBM_API_URL": engine.url, "OBM_OPERATOR_KEY": key})
    listed = shell.obm("held", "list", "--tenant", account.tenant_id)
    assert held["id"] in listed
    assert "Name messages" in shell.refused("held", "reject", "--reason", "x")
    done = shell.obm("held", "reject", held["id"], "--reason", "phishing")
    assert "1 messages rejected, 0 not held any more" in done
    command = ["held", "release", "--tenant", account.tenant_id, "--sender", DOMAIN]
    assert "1 messages would be released" in shell.obm(*command, "--reason", "x", "--dry-run")
    assert "1 messages released" in shell.obm(*command, "--reason", "asked")
    until(lambda: last_event(api, bad) == "failed")
    until(lambda: last_event(api, good) == "delivered")
