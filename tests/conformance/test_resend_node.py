"""The official `resend` package from npm, unchanged, against /v1."""

import json
import os
from pathlib import Path

import httpx

from tests.support.accounts import create_account
from tests.support.engine import DOMAIN, Engine
from tests.support.npm import node

SCRIPT = Path(__file__).with_name("resend.mjs")


def test_the_client_sends_batches_retrieves_reschedules_and_cancels(engine: Engine) -> None:
    settings = {"KEY": engine.account.api_key, "URL_V1": engine.url, "DOMAIN": DOMAIN}
    ran = node(SCRIPT, env={**os.environ, **settings})

    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)
    done = ("sent", "batch", "got", "scheduled", "moved", "canceled", "listed")
    assert {name: results[name]["error"] for name in done} == dict.fromkeys(done)
    sent = results["sent"]["data"]["id"]
    assert results["got"]["data"]["id"] == sent
    assert results["got"]["data"]["html"] == "<p>Hi</p>"
    assert len({one["id"] for one in results["batch"]["data"]["data"]}) == 2
    assert results["canceled"]["data"]["id"] == results["scheduled"]["data"]["id"]
    assert results["again"]["error"]["name"] == "invalid_idempotent_request"
    assert results["refused"]["error"]["name"] == "validation_error"


def test_the_client_manages_domains_keys_and_webhooks(engine: Engine) -> None:
    account = create_account(engine.environment, "node.example.net")
    name = "mail.node.example.net"
    settings = {"KEY": account.api_key, "URL_V1": engine.url, "NAME": name}
    ran = node(SCRIPT.with_name("resend_domains.mjs"), env={**os.environ, **settings})

    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)
    gone = results.pop("gone")
    assert {key: one["error"] for key, one in results.items()} == dict.fromkeys(results)
    assert gone["error"]["name"] == "not_found"
    domain = results["created"]["data"]
    assert (domain["name"], domain["status"]) == (name, "not_started")
    assert {one["record"] for one in domain["records"]} >= {"DKIM", "SPF"}
    assert results["got"]["data"]["id"] == domain["id"]
    assert results["removed"]["data"]["deleted"] is True
    assert name in {one["name"] for one in results["listed"]["data"]["data"]}
    assert results["key"]["data"]["token"]
    renamed = {one["id"]: one["name"] for one in results["keys"]["data"]["data"]}
    assert renamed[results["key"]["data"]["id"]] == "renamed"
    assert results["hook"]["data"]["events"] == ["email.delivered"]
    [listed] = results["events"]["data"]["data"]
    event = results["event"]["data"]
    assert (listed["type"], event["payload"]["type"]) == ("webhook.test", "webhook.test")
    assert (
        listed["id"] == event["id"] == event["payload"]["id"] == results["replayed"]["data"]["id"]
    )
    assert results["attempts"]["data"]["object"] == "list"
    assert results["rotated"]["data"]["signing_secret"].startswith("whsec_")
    updated = results["webhookUpdated"]["data"]
    assert (updated["events"], updated["status"]) == (["email.bounced"], "disabled")


def test_the_client_manages_suppressions(engine: Engine) -> None:
    key = create_account(engine.environment, "suppressed.example.net", test=False).api_key
    angry = {"email": "angry@x.example", "origin": "complaint"}
    headers = {"Authorization": f"Bearer {key}"}
    assert httpx.post(f"{engine.url}/suppressions", json=angry, headers=headers).is_success
    settings = {"KEY": key, "URL_V1": engine.url, "ANGRY": angry["email"]}
    ran = node(SCRIPT.with_name("resend_suppressions.mjs"), env={**os.environ, **settings})

    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)
    refused = results.pop("refused")["error"]
    assert (refused["statusCode"], refused["name"]) == (409, "address_suppressed_by_complaint")
    assert {name: one["error"] for name, one in results.items()} == dict.fromkeys(results)
    added = results["added"]["data"]["id"]
    assert results["got"]["data"]["id"] == results["removed"]["data"]["id"] == added
    assert [one["id"] for one in results["listed"]["data"]["data"]] == [added]
    added_ids, removed_ids = (
        [one["id"] for one in results[name]["data"]["data"]] for name in ("batch", "removedBatch")
    )
    assert len(added_ids) == 2
    assert removed_ids == added_ids


def test_the_client_gets_figures(engine: Engine) -> None:
    account = create_account(engine.environment, "node.figures.example.net", test=False)
    settings = {"KEY": account.api_key, "URL_V1": engine.url}
    ran = node(SCRIPT.with_name("resend_metrics.mjs"), env={**os.environ, **settings})

    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)
    assert {key: one["error"] for key, one in results.items()} == dict.fromkeys(results)
    assert results["whole"]["data"]["totals"]["sent"] == 0
    assert results["some"]["data"]["totals"] == {"sent": 0, "open_rate": None}
    assert results["usage"]["data"]["emails"]["monthly"]["sent"] == 0


def test_the_client_reads_the_log_of_requests(engine: Engine) -> None:
    account = create_account(engine.environment, "nodelogs.obm-sandbox.net")
    domain = "nodelogs.obm-sandbox.net"
    settings = {"KEY": account.api_key, "URL_V1": engine.url, "DOMAIN": domain}
    ran = node(SCRIPT.with_name("resend_logs.mjs"), env={**os.environ, **settings})

    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)
    assert results["listed"]["error"] is None
    found = results["got"]["data"]
    assert (found["object"], found["response_status"]) == ("log", 422)
    assert found["user_agent"].startswith("resend-node")
    assert found["response_body"]["name"] == "missing_required_field"
