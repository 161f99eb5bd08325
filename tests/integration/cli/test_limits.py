"""Limits, pools and queues in a shell: `obm` is a client of the API."""

import re

import pytest

from tests.support.accounts import keys_of_callers
from tests.support.engine import Engine, until
from tests.support.shell import Shell
from tests.support.stack import FreshDatabase


@pytest.fixture(scope="module")
def engine(own_engine: Engine) -> Engine:
    return own_engine


@pytest.fixture(scope="module")
def shell(engine: Engine) -> Shell:
    key = keys_of_callers(engine.environment)["accounts"]
    made = Shell({"OBM_API_URL": engine.url, "OBM_OPERATOR_KEY": key})
    made.obm("account", "create", "Limited")
    made.obm("tenant", "create", "careful", "--account", "Limited", "--per-hour", "100")
    return made


def is_shown(shell: Shell, scope: str, limit: str) -> bool:
    lines = shell.obm("limits", "show").splitlines()
    return any(scope in line and f" {limit} " in line for line in lines)


def test_limits_are_set_shown_and_removed(shell: Shell) -> None:
    egress = shell.obm("egress", "add", "127.0.0.65")
    berlin = ("--per-hour", "50", "--time-zone", "Europe/Berlin")
    shell.obm("limits", "set", "tenant/careful", *berlin)
    shell.obm("limits", "set", "egress_site/127.0.0.65/yahoo", "--per-minute", "60")
    shell.obm("limits", "set", "pool/default", "--in-flight", "500")
    shell.obm("limits", "set", "engine", "--per-second", "1000")
    pool = "pool/00000000-0000-7000-8000-000000000001"
    for scope, limit in (
        ("tenant/", "50"), (f"egress_site/{egress}/yahoo", "60"), (pool, "500"),
        ("engine/", "1,000"),
    ):  # fmt: skip
        until(lambda scope=scope, limit=limit: is_shown(shell, scope, limit))  # type: ignore[misc]
    assert "the tests" in shell.obm("limits", "show", "engine")  # the name of the operator's key
    for scope in ("tenant/careful", "pool/default", "engine", "egress_site/127.0.0.65/yahoo"):
        shell.obm("limits", "remove", scope)
    until(lambda: "engine/" not in shell.obm("limits", "show"))


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("limits set planet/mars --per-hour 5", "Begin with one of api_key, mailbox, tenant_site"),
        ("limits set site/yahoo", "Name a limit"),
        ("limits set tenant/nobody --per-hour 5", "There is no tenant 'nobody'"),
        ("limits set tenant/careful --per-hour 5 --time-zone Mars/Olympus", "time zone is unknown"),
        ("limits set warmup/192.0.2.99 --per-hour 5", "There is no egress source 192.0.2.99"),
        ("limits set site/yahooo --per-hour 5", "the site is unknown. Use "),
        ("limits set tenant_site/careful/yahooo --per-hour 5", "the site is unknown. Use "),
        ("limits set site/a/b --per-hour 5", "There is no site 'a/b'"),
        ("pool remove default", "has egress sources"),
        ("pool set-overflow default default", "would overflow to default itself"),
        ("pool set-overflow default nowhere", "There is no pool 'nowhere'"),
        ("pool add default", "There is a pool default already"),
        ("pool set-feedback-domain default nowhere.net", "There is no domain 'nowhere.net'"),
        ("queues cancel --tenant careful", "Name what to cancel"),
        ("queues cancel --tenant careful --sender @", "is not a valid"),
    ],
)
def test_an_error_is_one_line_with_the_reason(shell: Shell, command: str, reason: str) -> None:
    assert reason in shell.refused(*command.split())


def test_limits_of_scopes_that_have_sent_are_shown(shell: Shell, database: FreshDatabase) -> None:
    [line] = [one for one in shell.obm("tenant", "list").splitlines() if "careful" in one]
    tenant = next(word for word in line.split() if word.count("-") == 4)
    with database.connect() as owner:
        owner.execute(
            "INSERT INTO router.counters (cell, scope, window_key, value, expires_at) VALUES"
            " ('default', %s, 'per_hour/' || floor(extract(epoch FROM now()) / 300), 40,"
            " now() + interval '1 hour')",
            (f"tenant/{tenant}",),
        )
    shown = shell.obm("limits", "show", tenant)
    for cell in ("per_hour", "100", "40", "now"):
        assert cell in shown
    assert tenant not in shell.obm("limits", "show", "--exhausted")


def test_a_pool_overflows_to_another_and_not_back(shell: Shell) -> None:
    for name in ("first", "second", "third"):
        shell.obm("pool", "add", name)
    shell.obm("pool", "set-overflow", "first", "second")
    shell.obm("pool", "set-overflow", "second", "third")

    assert re.search(r"first +│ second +│ default", shell.obm("pool", "list"))
    for pool, overflow in (("second", "first"), ("third", "first"), ("third", "third")):
        refusal = shell.refused("pool", "set-overflow", pool, overflow)
        assert f"Mail of {pool} would overflow to {pool} itself" in refusal
    assert "Pool second overflows to third" in shell.refused("pool", "remove", "third")

    shell.obm("pool", "set-overflow", "second")
    shell.obm("pool", "remove", "third")
    shell.obm("pool", "set-overflow", "second", "")
    assert "third" not in shell.obm("pool", "list")


def test_queues_are_listed_and_canceled(shell: Shell) -> None:
    shell.obm("queues", "list", "--tenant", "careful")
    counted = shell.obm("queues", "cancel", "--tenant", "careful", "--all", "--dry-run")
    assert counted == "0 messages would be canceled"
    canceled = shell.obm("queues", "cancel", "--tenant", "careful", "--tag", "campaign=spring")
    assert canceled == "0 messages canceled, 0 too late"
