"""The official `resend` package from PyPI, unchanged, against /v1."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import resend
from resend.emails._emails import MetricsMetric
from resend.exceptions import MissingRequiredFieldsError, ResendError, ValidationError

from tests.support.accounts import create_account
from tests.support.engine import DOMAIN, Engine

FROM = f"Shop <hello@{DOMAIN}>"
WITHIN_S = 240.0


@pytest.fixture(autouse=True)
def _client(engine: Engine) -> Iterator[None]:
    before = resend.api_url, resend.api_key
    resend.api_url, resend.api_key = engine.url, engine.account.api_key
    yield
    resend.api_url, resend.api_key = before


def params(**changes: Any) -> Any:  # noqa: ANN401 - resend's TypedDict
    return {
        "from": FROM, "to": ["delivered@obm-sandbox.net"], "subject": "Hi", "html": "<p>Hi</p>",
        **changes,
    }  # fmt: skip


def wait(what: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever comes
    deadline = time.monotonic() + WITHIN_S
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.2)
    return found


def test_figures_have_the_form_of_resend(engine: Engine) -> None:
    account = create_account(engine.environment, "figures.obm-sandbox.net", test=False)
    resend.api_key = account.api_key
    some: Any = {"dimensions": ["period", "domain"], "metrics": ["sent", "bounce_rate"]}
    found = resend.Emails.metrics(some)
    assert found["object"] == "metrics"
    assert found["totals"] == {"sent": 0, "bounce_rate": None}
    assert found["data"] == []
    whole = resend.Emails.metrics()
    assert "data" not in whole
    assert set(MetricsMetric.__args__) <= set(whole["metrics"])  # type: ignore[attr-defined]


def test_requests_are_logged_in_the_form_of_resend(engine: Engine) -> None:
    account = create_account(engine.environment, "logs.obm-sandbox.net", test=False)
    resend.api_key = account.api_key
    with pytest.raises(MissingRequiredFieldsError):
        resend.Emails.send(params(to=[]))
    [one] = wait(lambda: [one for one in resend.Logs.list()["data"] if one["method"] == "POST"])
    assert (one["endpoint"], one["response_status"]) == ("/emails", 422)
    assert one["user_agent"].startswith("resend-python")
    whole = resend.Logs.get(one["id"])
    assert whole["object"] == "log"
    assert whole["request_body"]["to"] == []
    assert whole["response_body"]["name"] == "missing_required_field"
    assert len(resend.Logs.list({"limit": 1})["data"]) == 1


def test_usage_has_the_form_of_resend(engine: Engine) -> None:
    account = create_account(engine.environment, "usage.obm-sandbox.net", test=False)
    resend.api_key = account.api_key
    usage = resend.Usage.get()
    assert usage["object"] == "usage"
    for span in ("daily", "monthly"):
        found: Any = usage["emails"][span]
        assert (found["used"], found["limit"], found["sent"], found["received"]) == (0, None, 0, 0)
        assert found["resets_at"].endswith("T00:00:00.000Z")
    assert usage["domains"] == {"used": 1, "limit": None}
    assert usage["rate_limit"]["duration"] == "1000ms"


def test_an_email_is_sent_delivered_and_retrieved() -> None:
    sent = resend.Emails.send(
        params(
            cc="copy@obm-sandbox.net",
            reply_to="answers@x.example",
            headers={"X-Order": "17"},
            tags=[{"name": "kind", "value": "order"}],
            attachments=[{"filename": "a.bin", "content": list(bytes(range(256)) * 5000)}],
        )
    )

    got = wait(lambda: (g := resend.Emails.get(sent["id"]))["last_event"] == "delivered" and g)

    assert got["id"] == sent["id"]
    assert got["from"] == FROM
    assert got["to"] == ["delivered@obm-sandbox.net"]
    assert got["cc"] == ["copy@obm-sandbox.net"]
    assert got["html"] == "<p>Hi</p>"
    assert got["tags"] == [{"name": "kind", "value": "order"}]


def test_a_batch_is_sent_and_its_errors_are_reported() -> None:
    sent = resend.Batch.send([params(), params(subject="Two")])
    permissive = resend.Batch.send(
        [params(), params(to="nobody")], {"batch_validation": "permissive"}
    )

    assert len({one["id"] for one in sent["data"]}) == 2
    assert len(permissive["data"]) == 1
    assert permissive["errors"][0]["index"] == 1


def test_sent_emails_are_listed() -> None:
    sent = resend.Emails.send(params(subject="Listed"))
    wait(lambda: sent["id"] in [one["id"] for one in resend.Emails.list()["data"]])


def test_a_repeated_key_sends_once() -> None:
    options: Any = {"idempotency_key": "order-17"}
    first = resend.Emails.send(params(), options)
    second = resend.Emails.send(params(), options)

    assert first["id"] == second["id"]


def test_a_scheduled_email_is_rescheduled_and_canceled() -> None:
    sent = resend.Emails.send(params(scheduled_at="in 20 min"))
    moved = resend.Emails.update({"id": sent["id"], "scheduled_at": "in 30 min"})
    got = resend.Emails.get(sent["id"])
    canceled = resend.Emails.cancel(sent["id"])

    assert moved["id"] == canceled["id"] == sent["id"]
    assert got["last_event"] == "scheduled"
    wait(lambda: resend.Emails.get(sent["id"])["last_event"] == "canceled")


def test_errors_raise_the_exceptions_of_the_client() -> None:
    with pytest.raises(MissingRequiredFieldsError):
        resend.Emails.send({"from": FROM, "subject": "Hi", "html": "x"})  # type: ignore[typeddict-item]
    with pytest.raises(ValidationError):
        resend.Emails.send(params(to="nobody"))
    with pytest.raises(ResendError) as missing:
        resend.Emails.get("01890000-0000-7000-8000-000000000000")
    assert missing.value.code == 404


def test_suppressions_have_the_clients_types(engine: Engine) -> None:
    """Suppressions exist for live mail only."""
    account = create_account(engine.environment, "live.obm-sandbox.net", test=False)
    resend.api_key = account.api_key
    added = resend.Suppressions.add({"email": "gone@x.example"})
    assert resend.Suppressions.get("gone@x.example")["id"] == added["id"]
    assert [one["id"] for one in resend.Suppressions.list()["data"]] == [added["id"]]
    assert resend.Suppressions.remove("gone@x.example")["deleted"] is True
    emails = ["a@x.example", "b@x.example"]
    many = resend.SuppressionsBatch.add({"emails": emails})["data"]
    removed = resend.SuppressionsBatch.remove({"emails": emails})["data"]
    assert {one["id"] for one in removed} == {one["id"] for one in many}
    assert not resend.Suppressions.list()["data"]
    key = {"Authorization": f"Bearer {account.api_key}"}
    angry = {"email": "angry@x.example", "origin": "complaint"}
    assert httpx.post(f"{engine.url}/suppressions", json=angry, headers=key).status_code == 201
    with pytest.raises(ResendError) as refused:
        resend.Suppressions.remove("angry@x.example")
    assert refused.value.error_type == "address_suppressed_by_complaint"


def test_keys_have_the_clients_types() -> None:
    made = resend.ApiKeys.create({"name": "shop", "permission": "sending_access"})
    assert made["token"]
    assert resend.ApiKeys.update({"id": made["id"], "name": "blog"})["id"] == made["id"]
    names = {one["id"]: one["name"] for one in resend.ApiKeys.list()["data"]}
    assert names[made["id"]] == "blog"
    resend.ApiKeys.remove(made["id"])
    assert made["id"] not in [one["id"] for one in resend.ApiKeys.list()["data"]]


def test_webhooks_have_the_clients_types(engine: Engine) -> None:
    hook = resend.Webhooks.create(
        {"endpoint": "https://hooks.example.com/x", "events": ["email.delivered"]}
    )
    assert resend.Webhooks.get(hook["id"])["endpoint"] == "https://hooks.example.com/x"
    assert hook["signing_secret"].startswith("whsec_")
    assert hook["id"] in [one["id"] for one in resend.Webhooks.list()["data"]]
    changes: Any = {"webhook_id": hook["id"], "events": ["email.bounced"], "status": "disabled"}
    assert resend.Webhooks.update(changes)["id"] == hook["id"]
    changed = resend.Webhooks.get(hook["id"])
    assert (changed["events"], changed["status"]) == (["email.bounced"], "disabled")
    resend.Webhooks.update({"webhook_id": hook["id"], "status": "enabled"})
    key = {"Authorization": f"Bearer {engine.account.api_key}"}
    assert httpx.post(f"{engine.url}/webhooks/{hook['id']}/test", headers=key).status_code == 202
    [listed] = resend.Webhooks.list_events(hook["id"], {"limit": 1})["data"]
    assert {**listed}["type"] == "webhook.test"
    assert listed["status"] in {"pending", "attempting"}
    event = resend.Webhooks.get_event(hook["id"], listed["id"])
    assert (event["object"], event["id"]) == ("webhook_event", listed["id"])
    assert {**event["payload"]}["type"] == "webhook.test"
    assert resend.Webhooks.replay_event(hook["id"], listed["id"])["id"] == listed["id"]
    attempts = resend.Webhooks.list_event_attempts(hook["id"], listed["id"], {"limit": 1})
    assert {*attempts} >= {"object", "data", "has_more"}
    rotated = resend.Webhooks.rotate_signing_secret(hook["id"])
    assert rotated["signing_secret"].startswith("whsec_")
    assert rotated["signing_secret"] != hook["signing_secret"]
    with pytest.raises(ResendError) as refused:
        resend.Webhooks.rotate_signing_secret(hook["id"])
    assert refused.value.error_type == "rotation_in_progress"
    assert resend.Webhooks.get(hook["id"])["signing_secret"] == rotated["signing_secret"]
    assert resend.Webhooks.remove(hook["id"])["deleted"] is True


def test_domains_have_the_clients_types(engine: Engine) -> None:
    """Only live keys change domains."""
    resend.api_key = create_account(engine.environment, "owner.obm-sandbox.net", test=False).api_key
    made = resend.Domains.create({"name": "updates.customer.org", "custom_return_path": "send"})
    assert (made["status"], made["name"]) == ("not_started", "updates.customer.org")
    assert [one["record"] for one in made["records"] or []] == [
        "DKIM",
        "DKIM",
        "SPF",
        "SPF",
        "DMARC",
        "TLS-RPT",
    ]
    assert made["id"] in [one["id"] for one in resend.Domains.list()["data"]]
    assert resend.Domains.verify(made["id"])["id"] == made["id"]
    assert resend.Domains.get(made["id"])["status"] == "pending"
    assert resend.Domains.update({"id": made["id"], "click_tracking": False})["id"] == made["id"]
    with pytest.raises(ResendError) as taken:
        resend.Domains.create({"name": "updates.customer.org"})
    assert taken.value.error_type == "already_exists"
    assert resend.Domains.remove(made["id"])["deleted"] is True
