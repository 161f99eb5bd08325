"""A campaign is stopped: by the API and in a shell."""

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.support.accounts import create_account, keys_of_callers
from tests.support.directory import CreatedAccount
from tests.support.engine import Engine
from tests.support.shell import Shell

DOMAIN = "campaign.obm-sandbox.net"
WITHIN_S = 120.0


@pytest.fixture(scope="module")
def account(engine: Engine) -> CreatedAccount:
    return create_account(engine.environment, DOMAIN)


@pytest.fixture
def api(engine: Engine, account: CreatedAccount) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {account.api_key}"}
    with httpx.Client(base_url=engine.url, headers=headers, timeout=60) as client:
        yield client


def send(api: httpx.Client, campaign: str, recipient: str) -> str:
    email = {
        "from": f"news@{DOMAIN}", "to": recipient, "subject": "News", "text": "n",
        "scheduled_at": "in 2 days", "tags": [{"name": "campaign", "value": campaign}],
    }  # fmt: skip
    return str(api.post("/emails", json=email).raise_for_status().json()["id"])


def cancel(api: httpx.Client, **body: object) -> dict[str, int]:
    """The sums over all pages."""
    sums, after = {"matched": 0, "canceled": 0}, ""
    while after is not None:
        page = api.post("/queues/cancel", json={**body, "after": after}).raise_for_status().json()
        sums = {name: sums[name] + page[name] for name in sums}
        after = page["next"]
    return sums


def wait_until_waiting(api: httpx.Client, campaign: str, number: int) -> None:
    tag = {"tag": {"name": "campaign", "value": campaign}}
    until_s = time.monotonic() + WITHIN_S
    while cancel(api, filter=tag, dry_run=True)["matched"] < number:
        assert time.monotonic() < until_s
        time.sleep(0.1)


def last_event(api: httpx.Client, email_id: str) -> str:
    return str(api.get(f"/emails/{email_id}").json()["last_event"])


def test_the_api_cancels_what_has_a_tag(api: httpx.Client) -> None:
    spring = [send(api, "spring", f"u{number}@customers-of-campaigns.net") for number in range(3)]
    autumn = send(api, "autumn", "u@customers-of-campaigns.net")
    wait_until_waiting(api, "spring", 3)
    wait_until_waiting(api, "autumn", 1)
    tag = {"tag": {"name": "campaign", "value": "spring"}}
    assert cancel(api, filter=tag) == {"matched": 3, "canceled": 3}
    assert [last_event(api, one) for one in spring] == ["canceled"] * 3
    assert last_event(api, autumn) == "scheduled"
    assert cancel(api, filter=tag) == {"matched": 0, "canceled": 0}


def test_an_empty_filter_is_refused(api: httpx.Client) -> None:
    refused = api.post("/queues/cancel", json={"filter": {}})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "#/filter"


def test_an_operator_cancels_in_a_shell(
    engine: Engine, account: CreatedAccount, api: httpx.Client
) -> None:
    email_id = send(api, "winter", "u@readers-of-campaigns.net")
    wait_until_waiting(api, "winter", 1)

    key = keys_of_callers(engine.environment)["accounts"]
    shell = Shell({"OBM_API_URL": engine.url, "OBM_OPERATOR_KEY": key})
    command = ["queues", "cancel", "--tenant", account.tenant_id]
    assert "Name what to cancel" in shell.refused(*command)
    dry = shell.obm(*command, "--tag", "campaign=winter", "--dry-run")
    assert "1 messages would be canceled" in dry
    assert last_event(api, email_id) == "scheduled"
    done = shell.obm(*command, "--recipient-domain", "readers-of-campaigns.net")
    assert "1 messages canceled" in done
    until_s = time.monotonic() + WITHIN_S
    while last_event(api, email_id) != "canceled":
        assert time.monotonic() < until_s
        time.sleep(0.1)
