"""Egress sources in a shell, at the database."""

import pytest

from tests.support.shell import DatabaseShell, Shell
from tests.support.stack import FreshDatabase


@pytest.fixture(scope="module")
def shell(database: FreshDatabase) -> Shell:
    return DatabaseShell(database)


def test_an_egress_source_has_at_most_one_address_per_family(shell: Shell) -> None:
    both = shell.obm("egress", "add", "::1", "127.0.0.8", "--ehlo", "out8.example.net")
    listed = next(line for line in shell.obm("egress", "list").splitlines() if both in line)
    assert "127.0.0.8 ::1" in listed
    assert "one IPv4 and one IPv6" in shell.refused("egress", "add", "127.0.0.8", "127.0.0.7")
    assert "already" in shell.refused("egress", "add", "127.0.0.6", "::1")
    assert "already" in shell.refused("egress", "add", "127.0.0.8")
    shell.obm("egress", "remove", both)


def test_an_egress_source_can_be_moved_to_addresses_of_both_families(shell: Shell) -> None:
    egress = shell.obm("egress", "add", "127.0.0.7")
    other = shell.obm("egress", "add", "127.0.0.6")
    assert "already" in shell.refused("egress", "move", egress, "127.0.0.6", "::1")
    shell.obm("egress", "move", egress, "127.0.0.7", "::1")
    listed = next(line for line in shell.obm("egress", "list").splitlines() if egress in line)
    assert "127.0.0.7 ::1" in listed
    assert "no egress source" in shell.refused("egress", "move", "7", "127.0.0.5")
    for one in (egress, other):
        shell.obm("egress", "remove", one)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("egress add 192.0.2.77", "is not an address of this machine"),
        ("egress add localhost", "is not an IP address"),
        ("egress add ::ffff:127.0.0.1", "cannot be used as a source address"),
        ("egress add fe80::1%lo", "cannot be used as a source address"),
    ],
)
def test_an_error_is_one_line_with_the_reason(shell: Shell, command: str, reason: str) -> None:
    assert reason in shell.refused(*command.split())
