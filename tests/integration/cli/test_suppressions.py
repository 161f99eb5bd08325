"""Suppressions in a shell: `obm` is a client of the API."""

from contextlib import suppress
from typing import cast

import pytest

from cli.api import Api, Credentials
from contracts.router.v1.events_pb2 import SuppressionChanged
from kernel.errors import ConfigError
from services.events.domain.log_event import EventKind
from tests.support.accounts import add_account_key, create_account, keys_of_callers
from tests.support.engine import WITHIN_S, Engine, until
from tests.support.shell import Shell
from tests.support.stack import FreshDatabase


@pytest.fixture(scope="module")
def engine(own_engine: Engine) -> Engine:
    return own_engine


def test_suppressions_are_added_listed_and_removed(engine: Engine) -> None:
    operator = keys_of_callers(engine.environment)["accounts"]
    shell = Shell({"OBM_API_URL": engine.url, "OBM_OPERATOR_KEY": operator})
    account_id = shell.obm("account", "create", "Suppressing").split()[-1]
    shell.obm("tenant", "create", "careful", "--account", "Suppressing")
    of_tenant = ("--tenant", "careful")
    shell.obm("suppressions", "add", "ann@x.example", "bob@y.example", *of_tenant)
    shell.obm("suppressions", "add", "ann@x.example", *of_tenant, "--list", "news",
              "--until", "2090-01-31", "--note", "by phone")  # fmt: skip
    listed = shell.obm("suppressions", "list", *of_tenant)
    assert listed.count("ann@x.example") == 2
    assert "2090-01-31" in listed
    only = shell.obm("suppressions", "list", *of_tenant, "--domain", "y.example")
    assert ("bob@y.example" in only, "ann" in only) == (True, False)
    shell.obm("suppressions", "remove", "ann@x.example", *of_tenant)
    assert "not found" in shell.refused("suppressions", "remove", "ann@x.example", *of_tenant)
    shell.obm("suppressions", "remove", "ann@x.example", *of_tenant, "--list", "news")
    assert "--account-wide" in shell.refused("suppressions", "list")
    refused = shell.refused("suppressions", "add", "ann@x.example", "--account-wide")
    assert "key of an operator" in refused

    key = add_account_key(engine.environment, account_id)
    account = Shell({"OBM_API_URL": engine.url, "OBM_API_KEY": key})
    account.obm("suppressions", "add", "ann@x.example", "--account-wide")
    assert "account" in account.obm(
        "suppressions", "list", "--account-wide", "--email", "ann@x.example"
    )
    account.obm("suppressions", "remove", "ann@x.example", "--account-wide")


def restart(engine: Engine, service: str, **settings: str) -> None:
    engine.processes[service].kill()
    engine.processes[service].start(**settings)
    engine.processes[service].await_ready()


def test_a_change_is_published_although_router_dies(
    engine: Engine, database: FreshDatabase
) -> None:
    account = create_account(engine.environment, "dying.example.net", test=False)
    api = Api(Credentials(engine.url, account.api_key, "the test"))

    def published() -> list[str]:
        query = "SELECT payload FROM events.unpartitioned_log WHERE tenant_id = %s AND kind = %s"
        with database.connect() as owner:
            rows = owner.execute(query, (account.tenant_id, EventKind.SUPPRESSION)).fetchall()
        return [SuppressionChanged.FromString(cast(bytes, one)).change for (one,) in rows]

    restart(engine, "router", OBM_FAILPOINTS="router.outbox.committed=kill")
    with suppress(ConfigError):  # the response may come before the end
        api.post("/suppressions", {"email": "ann@x.example"})
    engine.processes["router"].wait(WITHIN_S)
    engine.processes["router"].start()
    engine.processes["router"].await_ready()
    until(lambda: published() == ["added"])
    assert [one["email"] for one in api.items("/suppressions")] == ["ann@x.example"]
    api.delete("/suppressions/ann@x.example")
    until(lambda: published() == ["added", "removed"])


def test_an_account_wide_change_without_a_response_is_recorded_when_it_is_repeated(
    engine: Engine,
) -> None:
    """Ingest dies after router has obeyed, and before it adds the entry of the audit log."""
    account = create_account(engine.environment, "repeating.example.net", test=False)
    key = add_account_key(engine.environment, account.account_id)
    api = Api(Credentials(engine.url, key, "the test"))
    everywhere = {"email": "ann@x.example", "scope": "account"}
    restart(engine, "ingest", OBM_FAILPOINTS="ingest.act.obeyed=kill")
    with pytest.raises(ConfigError, match="does not respond"):
        api.post("/suppressions", everywhere)
    engine.processes["ingest"].start()
    engine.processes["ingest"].await_ready()
    assert [one["scope"] for one in api.items("/suppressions")] == ["account"]
    assert not list(api.items("/audit", resource="suppression"))
    again = api.post("/suppressions", everywhere)
    [entry] = api.items("/audit", resource="suppression")
    assert (entry["resource_id"], entry["action"]) == (again["id"], "suppression.create")
