"""Suppressions in a shell: `obm` is a client of the API."""

from collections.abc import Iterator

import pytest

from tests.support.accounts import add_account_key, keys_of_callers
from tests.support.engine import Engine, engine_of
from tests.support.shell import Shell
from tests.support.stack import FreshDatabase


@pytest.fixture(scope="module")
def engine(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Engine]:  # fmt: skip
    with engine_of(
        tmp_path_factory.mktemp("engine"),
        bootstrap_servers=bootstrap_servers,
        database=database,
        settings={"OBM_KAFKA_TOPIC_PREFIX": topic_prefix},
    ) as running:
        yield running


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
