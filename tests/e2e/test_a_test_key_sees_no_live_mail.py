"""A test key, which many people can read in a CI, gives no access to live objects.

The routes come from the OpenAPI document: a new route with an unknown kind of id fails the test
until it is added here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.support.accounts import create_account
from tests.support.engine import Engine
from tests.support.operations import example_of, operations_of, path_parameters
from tests.support.strangers import add_campaign, wait_for_log

DOMAIN = "both.obm-sandbox.net"
MISSING = "01890000-0000-7000-8000-000000000000"
ADDRESS = "ceo@account-of-both.net"
SHARED = frozenset({"domain_id"})  # used by both kinds of mail


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A test and a live key of one tenant, and the objects of the live key."""

    live: httpx.Client
    test: httpx.Client
    ids: dict[str, str]


def client(engine: Engine, key: str) -> httpx.Client:
    return httpx.Client(
        base_url=engine.url, headers={"Authorization": f"Bearer {key}"}, timeout=120
    )


@pytest.fixture(scope="module")
def both(engine: Engine) -> Iterator[KeyPair]:
    account = create_account(engine.environment, DOMAIN, test=False)
    with client(engine, account.api_key) as live:
        made = live.post("/api-keys", json={"name": "CI", "test": True}).json()
        email = {
            "from": f"a@{DOMAIN}", "to": ADDRESS, "subject": "Live", "text": "classified",
            "scheduled_at": "in 20 days",
        }  # fmt: skip
        ids = {"email_id": live.post("/emails", json=email).json()["id"]}
        hook = {"endpoint": "https://hooks.example.com/live"}
        ids["webhook_id"] = live.post("/webhooks", json=hook).json()["id"]
        ids["event_id"] = live.post(f"/webhooks/{ids['webhook_id']}/test").json()["id"]
        ids["key_id"] = live.post("/api-keys", json={"name": "server"}).json()["id"]
        mailbox = live.post("/mailboxes", json={"address": f"a@{DOMAIN}"})
        ids["mailbox_id"] = mailbox.json()["id"]
        live.post("/suppressions", json={"email": ADDRESS})
        csv = {"Content-Type": "text/csv"}
        sent = live.post("/suppressions/imports", content=ADDRESS, headers=csv)
        ids["import_id"] = sent.json()["id"]
        report = {"name": "Daily", "frequency": "daily"}
        ids["report_id"] = live.post("/reports", json=report).json()["id"]
        ids["log_id"] = wait_for_log(live)
        ids["export_id"] = live.post("/exports", json={}).json()["id"]
        erased = live.delete("/recipients/forgotten@account-of-both.net")
        ids |= {"erasure_id": erased.json()["id"], "address": ADDRESS}
        ids |= {"email": ADDRESS, "id_or_email": ADDRESS, "message_id": MISSING}
        ids["ip_id"] = live.get("/ips").json()["data"][0]["id"]
        ids["domain_id"] = live.get("/domains").json()["data"][0]["id"]
        ids["campaign_id"] = add_campaign(engine, account.tenant_id)
        with client(engine, made["token"]) as test:
            yield KeyPair(live, test, ids)


def test_no_route_reads_or_changes_live_objects(both: KeyPair) -> None:
    checked = 0
    for method, path, operation in operations_of("tenant", both.test):
        names = set(path_parameters(operation))
        if not names or names <= SHARED:
            continue
        assert names <= both.ids.keys(), f"whose id is {names} of {path}?"
        response = both.test.request(
            method,
            both.test.base_url.join(path.format(**{name: both.ids[name] for name in names})),
            json=example_of(operation),
        )
        assert response.status_code in {403, 404}, f"{method} {path}: {response.text}"
        assert "classified" not in response.text
        checked += 1
    assert checked >= 13
    check_unchanged(both)


@pytest.mark.parametrize(
    "path", ["/emails", "/webhooks", "/queues", "/sandbox/messages", "/exports"]
)
def test_lists_omit_live_objects(both: KeyPair, path: str) -> None:
    assert both.live.get(path).status_code == 200
    assert both.test.get(path).json()["data"] == []


def test_only_test_keys_are_listed(both: KeyPair) -> None:
    assert {one["test"] for one in both.test.get("/api-keys").json()["data"]} == {True}
    assert {one["test"] for one in both.live.get("/api-keys").json()["data"]} == {True, False}


def test_a_test_key_has_no_figures_of_live_mail(both: KeyPair) -> None:
    assert both.live.get("/emails/metrics").status_code == 200
    assert both.test.get("/emails/metrics").status_code == 403


def test_a_test_key_cannot_suppress_an_address(both: KeyPair) -> None:
    for path, body in (
        ("/suppressions", {"email": "other@account-of-both.net"}),
        ("/suppressions/batch/add", {"emails": ["other@account-of-both.net"]}),
        ("/suppressions/batch/remove", {"emails": [ADDRESS]}),
    ):
        assert both.test.post(path, json=body).status_code == 403
    assert both.live.get("/suppressions/other@account-of-both.net").status_code == 404
    check_unchanged(both)


def test_a_test_key_cannot_create_a_live_key(both: KeyPair) -> None:
    response = both.test.post("/api-keys", json={"name": "more", "test": False})
    assert response.status_code == 403


def test_test_objects_are_visible_to_both_keys(both: KeyPair) -> None:
    email = {
        "from": f"a@{DOMAIN}", "to": "delivered@obm-sandbox.net", "subject": "Test", "text": "x",
        "scheduled_at": "in 20 days",
    }  # fmt: skip
    sent = both.test.post("/emails", json=email).json()["id"]
    hook = both.test.post("/webhooks", json={"endpoint": "https://hooks.example.com/ci"}).json()
    for http in (both.test, both.live):
        assert http.get(f"/emails/{sent}").status_code == 200
        assert http.get(f"/webhooks/{hook['id']}").status_code == 200
    assert both.test.delete(f"/webhooks/{hook['id']}").status_code == 200
    assert both.test.post(f"/emails/{sent}/cancel").status_code == 200


def test_live_mail_is_not_sent_to_the_sandbox(both: KeyPair) -> None:
    email = {"from": f"a@{DOMAIN}", "to": "delivered@obm-sandbox.net", "subject": "x", "text": "x"}
    response = both.live.post("/emails", json=email)
    assert response.status_code == 422
    assert response.json()["errors"][0]["code"] == "sandbox_domain"


def check_unchanged(both: KeyPair) -> None:
    for path in (
        f"/emails/{both.ids['email_id']}", f"/webhooks/{both.ids['webhook_id']}",
        f"/suppressions/{ADDRESS}",
    ):  # fmt: skip
        assert both.live.get(path).status_code == 200
    assert both.live.get(f"/emails/{both.ids['email_id']}").json()["last_event"] == "scheduled"
    keys = {one["id"] for one in both.live.get("/api-keys").json()["data"]}
    assert both.ids["key_id"] in keys
