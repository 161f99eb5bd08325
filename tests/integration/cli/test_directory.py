"""Accounts, tenants, keys, domains, pools and egress sources in a shell."""

import asyncio
import os
import re
import sys
from base64 import b64decode
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from google.protobuf.timestamp_pb2 import Timestamp

from cli.directory import create_sandbox_key, open_directory
from cli.main import main
from contracts.ingest.v1.directory_pb2 import AMBIGUOUS_POLICY_FAIL, ApiKey, Domain, Tenant
from kernel.crypto import new_secret_key
from mail.dkim_verify import parse_tags
from services.ingest.domain.verification import may_send
from tests.support.stack import FreshDatabase

HOST = ("--bounce-mx", "mx.example.com")


class Shell:
    """Runs `obm` in this process, with DATABASE_URL and OBM_SECRET_KEYS: starting Python takes
    long."""

    def __init__(self, database: FreshDatabase) -> None:
        self.database = database
        self.environment = {"DATABASE_URL": database.url, "OBM_SECRET_KEYS": new_secret_key()}

    def obm(self, *arguments: str) -> str:
        """The output of a command that succeeds."""
        code, out, err = run_obm(*arguments, **self.environment)
        assert code == 0, err
        return out.strip()

    def refused(self, *arguments: str) -> str:
        """The error line of a command that fails."""
        code, _, err = run_obm(*arguments, **self.environment)
        assert code == 1
        assert err.startswith("obm: ")
        assert err.count("\n") == 1
        return err

    def record(self, table: str, identifier: str) -> bytes:
        with self.database.connect() as owner:
            query = f"SELECT record FROM ingest.{table} WHERE id = %s"
            found = owner.execute(query.encode(), (identifier,)).fetchone()
        assert found
        return bytes(found[0])  # type: ignore[call-overload,no-any-return]


def run_obm(*arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run a command with these settings only. Returns its exit code and its output."""
    others = {k: v for k, v in os.environ.items() if not k.endswith("DATABASE_URL")}
    out, err = StringIO(), StringIO()
    with (
        patch.dict(os.environ, {**others, **settings}, clear=True),
        patch.object(sys, "argv", ["obm", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        main()
    return int(left.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def shell(database: FreshDatabase) -> Shell:
    return Shell(database)


def test_account_tenant_domain_and_key_are_created_step_by_step(shell: Shell) -> None:
    account = shell.obm("account", "create", "Acme")
    assert account in shell.obm("account", "list")
    tenant = shell.obm("tenant", "create", "shop", "--account", "Acme", "--per-hour", "100")
    assert tenant in shell.obm("tenant", "list")
    added = shell.obm("domain", "add", "Shop.Example.net", "--tenant", "shop", *HOST)
    domain = added.splitlines()[0]
    assert Domain.FromString(shell.record("domains", domain)).name == "shop.example.net"
    for mode in ("live", "test"):
        key = shell.obm("key", "create", "--tenant", "shop", f"--{mode}")
        assert key.startswith(f"obm_{mode}_")
    bound = ["--domain", "shop.example.net", "--cidr", "192.0.2.7/24", "--sending-only"]
    shell.obm("key", "create", "--tenant", tenant, "--test", "--name", "bound", *bound)
    [line] = [line for line in shell.obm("key", "list").splitlines() if "bound" in line]
    key_id = next(word for word in line.split() if word.count("-") == 4)
    record = ApiKey.FromString(shell.record("api_keys", key_id))
    assert (record.domain_id, list(record.cidrs)) == (domain, ["192.0.2.0/24"])
    shell.obm("key", "delete", key_id)
    assert key_id not in shell.obm("key", "list")


def test_adding_a_domain_prints_its_dns_records(shell: Shell) -> None:
    shell.obm("account", "create", "Records")
    shell.obm("tenant", "create", "records", "--account", "Records")
    output = shell.obm("domain", "add", "records.example.net", "--tenant", "records", *HOST)
    lines = [line for line in output.splitlines() if "_domainkey" in line]
    rsa, ed25519 = (parse_tags("".join(re.findall('"([^"]*)"', line))) for line in lines)
    key = load_der_public_key(b64decode(rsa["p"]))
    assert isinstance(key, RSAPublicKey)
    assert key.key_size == 2048
    assert (ed25519["k"], len(b64decode(ed25519["p"]))) == ("ed25519", 32)
    again = shell.obm("domain", "records", "records.example.net", *HOST)
    assert output.partition("\n")[2].strip() == again


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


def test_a_tenant_has_thresholds_limits_a_pool_and_a_policy(shell: Shell) -> None:
    shell.obm("account", "create", "Fussy")
    pool = shell.obm("pool", "add", "fussy")
    egress = shell.obm("egress", "add", "127.0.0.9", "--pool", "fussy")
    assert egress in shell.obm("egress", "list")
    tenant = shell.obm(
        "tenant", "create", "fussy", "--account", "Fussy", "--hold-score", "2.5", "--pool", "fussy",
    )  # fmt: skip
    shell.obm("tenant", "change", "fussy", "--per-second", "5", "--ambiguous", "fail")
    record = Tenant.FromString(shell.record("tenants", tenant))
    assert (record.hold_score, record.pool_id, record.per_second_max) == (2.5, pool, 5)
    assert record.ambiguous_policy == AMBIGUOUS_POLICY_FAIL
    shell.obm("tenant", "change", "fussy", "--per-second", "0")
    assert Tenant.FromString(shell.record("tenants", tenant)).per_second_max == 0


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("tenant create x --account Nobody", "There is no account 'Nobody'"),
        ("domain add twice.example.net --tenant strict --bounce-mx mx.example.com", ""),
        ("domain add no..domain --tenant strict --bounce-mx mx.example.com", "is not a valid"),
        ("domain add com --tenant strict --bounce-mx mx.example.com", "it has no dot"),
        ("domain add co.uk --tenant strict --bounce-mx mx.example.com", "is a public suffix"),
        ("domain add localhost --tenant strict --bounce-mx mx.example.com", "it has no dot"),
        ("domain add 10.0.0.1 --tenant strict --bounce-mx mx.example.com", "ends in a number"),
        ("domain add ::1 --tenant strict --bounce-mx mx.example.com", "is not a valid"),
        ("domain add new.example.net --tenant strict", "--bounce-mx"),
        (
            "domain add new.example.net --tenant strict --bounce-mx localhost",
            "is not a public host name",
        ),
        ("account remove Strict", "Strict has a tenant"),
        ("egress add 192.0.2.77", "is not an address of this machine"),
        ("pool remove default", "has egress sources"),
        ("pool set-overflow default default", "would overflow to default itself"),
        ("pool set-overflow default nowhere", "There is no pool nowhere"),
        ("key create --tenant strict --test --cidr 1.2.3", "--cidr"),
        ("key create --tenant strict --test --domain other.example.net", "cannot send from"),
        ("tenant change strict --pool nowhere", "There is no pool nowhere"),
        ("egress add localhost", "is not an IP address"),
        ("egress add ::ffff:127.0.0.1", "cannot be used as a source address"),
        ("egress add fe80::1%lo", "cannot be used as a source address"),
        ("key delete 7", "There is no key '7'"),
    ],
)
def test_an_error_is_one_line_with_the_reason(shell: Shell, command: str, reason: str) -> None:
    if "Strict" not in shell.obm("account", "list"):
        shell.obm("account", "create", "Strict")
        shell.obm("tenant", "create", "strict", "--account", "Strict")
    if not reason:
        shell.obm(*command.split())
        reason = "exists already"
    assert reason in shell.refused(*command.split())


def test_two_accounts_can_have_one_domain_and_an_operator_can_vouch_for_it(shell: Shell) -> None:
    for name in ("Holder", "Wanting"):
        shell.obm("account", "create", name)
        shell.obm("tenant", "create", name, "--account", name)
    add = ("domain", "add", "wanted.example.net", *HOST, "--tenant")
    checked = shell.obm(*add, "Holder").split()[0]
    vouched = shell.obm(*add, "Wanting", "--verified").split()[0]

    one, other = (Domain.FromString(shell.record("domains", d)) for d in (checked, vouched))
    assert one.rsa_selector != other.rsa_selector
    assert (may_send(one), may_send(other)) == (False, True)
    assert "not_started" in next(
        line for line in shell.obm("domain", "list").splitlines() if checked in line
    )


def test_a_domain_is_shown_checked_and_rotated(shell: Shell) -> None:
    shell.obm("account", "create", "Rotating")
    shell.obm("tenant", "create", "rotating", "--account", "Rotating")
    shell.obm("domain", "add", "rotating.example.net", "--tenant", "rotating", *HOST)
    assert "rotating.example.net: not_started" in shell.obm(
        "domain", "show", "rotating.example.net"
    )
    shell.obm("domain", "verify", "rotating.example.net")
    assert "rotating.example.net: pending" in shell.obm("domain", "show", "rotating.example.net")
    rotate = ("domain", "rotate-dkim", "rotating.example.net", *HOST)
    assert shell.obm(*rotate).count("_domainkey") == 4
    assert "being rotated" in shell.refused(*rotate)


def test_a_sandbox_key_can_be_created_again(shell: Shell) -> None:
    with patch.dict(os.environ, shell.environment):
        first, second = (asyncio.run(create_sandbox_key("demo.example.net")) for _ in range(2))
    assert first != second
    assert shell.obm("domain", "list").count(" demo.example.net ") == 1


@pytest.mark.parametrize("seconds", [253402343999, -62135600400])
def test_keys_are_listed_although_one_expires_out_of_range(shell: Shell, seconds: int) -> None:
    shell.obm("account", "create", f"Times{seconds}")
    shell.obm("tenant", "create", f"times{seconds}", "--account", f"Times{seconds}")

    async def add() -> ApiKey:
        async with open_directory() as directory:
            end = Timestamp(seconds=seconds)
            _, key = await directory.add_key(f"times{seconds}", test=True, expires_at=end)
            return key

    with patch.dict(os.environ, shell.environment):
        key = asyncio.run(add())
    assert key.key_id in shell.obm("key", "list")


def test_entries_can_be_removed_after_those_that_belong_to_them(shell: Shell) -> None:
    shell.obm("account", "create", "Gone")
    shell.obm("tenant", "create", "gone", "--account", "Gone")
    domain = shell.obm("domain", "add", "gone.example.net", "--tenant", "gone", *HOST).split()[0]
    pool = shell.obm("pool", "add", "gone")
    assert "gone has a domain" in shell.refused("tenant", "remove", "gone")

    shell.obm("domain", "remove", domain)
    shell.obm("tenant", "remove", "gone")
    shell.obm("account", "remove", "Gone")
    shell.obm("pool", "remove", "gone")

    assert Domain.FromString(shell.record("domains", domain)).deleted
    assert "Gone" not in shell.obm("account", "list")
    assert pool not in shell.obm("pool", "list")


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


def test_a_tenant_gets_a_pool_of_its_own_with_spare_sources(shell: Shell) -> None:
    shell.obm("account", "create", "Bank")
    bank = ("tenant", "create", "bank", "--account", "Bank", "--dedicated")
    assert "There is no free egress source: add one with" in shell.refused(*bank, "1")
    shell.obm("pool", "add", "spare")
    added = [shell.obm("egress", "add", f"127.0.0.{last}", "--pool", "spare") for last in (81, 82)]
    paused = shell.obm("egress", "add", "127.0.0.83", "--pool", "spare")
    shell.obm("egress", "pause", paused)
    assert "2 of the 3 that are needed" in shell.refused(*bank, "3")
    refusal = shell.refused("tenant", "create", "bank", "--account", "Nobody", "--dedicated", "1")
    assert "There is no account" in refusal
    assert "bank" not in shell.obm("pool", "list")
    assert "either --pool or --dedicated" in shell.refused(*bank, "1", "--pool", "default")

    tenant = shell.obm(*bank, "1", "--warmup", "default")

    pool_id = Tenant.FromString(shell.record("tenants", tenant)).pool_id
    lines = {one: shell.obm("egress", "list").split(one)[1].splitlines()[0] for one in added}
    assert " bank " in lines[added[0]]
    assert " spare " in lines[added[1]]
    assert pool_id in shell.obm("pool", "list")
    second = shell.obm("tenant", "create", "two", "--account", "Bank", "--dedicated", "1")
    assert Tenant.FromString(shell.record("tenants", second)).pool_id != pool_id


def test_a_pool_that_a_command_has_left_without_a_tenant_is_used_again(shell: Shell) -> None:
    shell.obm("account", "create", "Cut")
    left = shell.obm("pool", "add", "cut")
    shell.obm("egress", "add", "127.0.0.84", "--pool", "cut")
    tenant = shell.obm("tenant", "create", "cut", "--account", "Cut", "--dedicated", "1")
    assert Tenant.FromString(shell.record("tenants", tenant)).pool_id == left
    again = shell.refused("tenant", "create", "cut", "--account", "Cut", "--dedicated", "1")
    assert "There is a pool cut already" in again


def test_a_tenant_has_a_reputation_policy(shell: Shell) -> None:
    shell.obm("account", "create", "Policy")
    options = ("--account", "Policy", "--reputation-policy", "strict")
    tenant = shell.obm("tenant", "create", "policy", *options)
    assert Tenant.FromString(shell.record("tenants", tenant)).reputation_policy == 3
    shell.obm("tenant", "change", "policy", "--reputation-policy", "default")
    assert Tenant.FromString(shell.record("tenants", tenant)).reputation_policy == 0


def test_a_key_expires_within_a_hundred_years(shell: Shell) -> None:
    code, _, err = run_obm("key", "create", "--tenant", "x", "--test", "--days", "36501")
    assert (code, "--days" in err) == (2, True)


def test_an_empty_name_is_refused(shell: Shell) -> None:
    assert "A name must have 1 to" in shell.refused("account", "create", " ")
    assert "A pool must have a name" in shell.refused("pool", "add", "")


def test_without_a_running_engine_the_error_has_a_hint(tmp_path: Path) -> None:
    code, _, err = run_obm(f"--data={tmp_path}", "account", "list")
    assert code == 1
    assert err.startswith(f"obm: No engine runs on the data folder {tmp_path}")
