"""`obm` itself: help, start, position of options."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict

import pytest
import typer
from typer.testing import CliRunner

from cli.environment import Ports
from cli.main import COMMANDS, load_command, with_data_first
from cli.run import run
from cli.stack import up
from kernel.errors import ConfigError

HEAVY = ("aiokafka", "grpc", "psycopg", "sqlalchemy", "services", "contracts")


def test_each_listener_has_a_port_of_its_own() -> None:
    ports = asdict(Ports())
    assert len({*ports.values()}) == len(ports)


def test_help_is_printed_without_heavy_imports() -> None:
    code = (
        "import sys; from cli.main import main\n"
        "sys.argv = ['obm', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)

    assert "Usage: obm" in printed
    assert printed.strip().endswith("[]")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_starts_like_its_line_in_obm_help(name: str) -> None:
    command = load_command(name)
    about = (command.help or "").partition("\n\n")[0].replace("\n", " ")

    assert about.startswith(COMMANDS[name].rstrip("."))


@pytest.mark.parametrize("name", ["account", "tenant", "key", "domain", "pool", "egress"])
def test_create_commands_have_an_example(name: str) -> None:
    group = load_command(name)
    assert isinstance(group, typer.core.TyperGroup)
    [making] = [group.commands[verb] for verb in ("create", "add") if verb in group.commands]

    assert f"\nobm {name} " in (making.help or "")
    assert "remove" in group.commands or "delete" in group.commands


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["account", "list", "--data", "x"], ["--data", "x", "account", "list"]),
        (["account", "list", "--data=x"], ["--data=x", "account", "list"]),
        (["--data", "x", "account", "list"], ["--data", "x", "account", "list"]),
        (["account", "list"], ["account", "list"]),
    ],
)
def test_data_can_stand_before_and_after_the_command(words: list[str], first: list[str]) -> None:
    assert with_data_first(words) == first


def test_the_environment_sets_the_listen_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_HTTP_LISTEN", "0.0.0.0:9025")
    monkeypatch.setenv("EVENTS_HEALTH_LISTEN", "127.0.0.1:9045")

    ports = Ports.choose()

    assert (ports.ingest_http, ports.events_health) == (9025, 9045)
    assert ports.sandbox == Ports().sandbox


def test_a_port_of_the_command_line_overrides_free_ports() -> None:
    ports = Ports.choose(http=9025, free=True)

    assert ports.ingest_http == 9025
    assert ports.sandbox != Ports().sandbox


@pytest.mark.parametrize("listen", ["here", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000"])
def test_an_address_without_a_port_is_a_config_error(
    listen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGEST_HTTP_LISTEN", listen)

    with pytest.raises(ConfigError, match="INGEST_HTTP_LISTEN"):
        Ports.choose()


@pytest.mark.parametrize(
    ("command", "option"), [(run, "--port"), (up, "--kafka-port"), (up, "--postgres-port")]
)
@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_out_of_range_is_named(command: Callable[..., None], option: str, port: str) -> None:
    app = typer.Typer()
    app.command()(command)

    result = CliRunner().invoke(app, [option, port])

    assert result.exit_code == 2
    assert option in result.output
