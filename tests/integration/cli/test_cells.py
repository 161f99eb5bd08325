"""Cells in a shell: they are added, and pools move between them."""

from collections.abc import Iterator

import pytest

from cli.api import Api, find_credentials
from tests.support.accounts import keys_of_callers
from tests.support.engine import Engine, engine_of, until
from tests.support.shell import Shell
from tests.support.stack import FreshDatabase


@pytest.fixture(scope="module")
def engine(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Engine]:  # fmt: skip
    folder = tmp_path_factory.mktemp("engine")
    settings = {"OBM_KAFKA_TOPIC_PREFIX": topic_prefix, "ROUTER_SOURCE_CHECKS": "off"}
    with engine_of(
        folder, bootstrap_servers=bootstrap_servers, database=database, settings=settings
    ) as running:
        yield running


@pytest.fixture(scope="module")
def shell(engine: Engine) -> Shell:
    key = keys_of_callers(engine.environment)["accounts"]
    return Shell({"OBM_API_URL": engine.url, "OBM_OPERATOR_KEY": key})


def line_of(text: str, part: str) -> str:
    return next(line for line in text.splitlines() if part in line)


def test_a_pool_moves_with_the_one_that_it_overflows_to(shell: Shell) -> None:
    shell.obm("pool", "add", "first")
    shell.obm("pool", "add", "second")
    shell.obm("pool", "set-overflow", "first", "second")
    shell.obm("limits", "set", "site/yahoo", "--per-minute", "2")
    assert shell.obm("cell", "add", "west") == "west"
    assert "yes" in line_of(shell.obm("cell", "list"), "default")
    shell.obm("pool", "move", "first", "west")
    until(lambda: "west" in line_of(shell.obm("pool", "list"), "first "))
    until(lambda: "→" not in shell.obm("pool", "list"))
    for one in ("first ", "second "):
        assert "west" in line_of(shell.obm("pool", "list"), one)
    assert "2" in line_of(shell.obm("cell", "list"), "west")
    until(lambda: "yes" in line_of(shell.obm("cell", "list"), "west"))


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("cell add West", "lower-case letters"),
        ("cell add west", "There is a cell west already"),
        ("cell add north", "must be at least 3, and not 2"),
        ("pool move first nowhere", "There is no cell nowhere"),
        ("pool set-overflow first default", "The pool default is in another cell than first"),
        ("limits set site/yahoo --per-hour 1", "divided among 2 cells"),
    ],
)
def test_a_refusal_has_its_reason(shell: Shell, command: str, text: str) -> None:
    assert text in shell.refused(*command.split())


def test_what_operators_do_is_in_the_audit_log(shell: Shell, tmp_path: object) -> None:
    api = Api(find_credentials(shell.environment, tmp_path))  # type: ignore[arg-type]
    acts = {one["action"] for one in api.items("/audit")}
    assert {"cell.create", "pool.update"} <= acts
