"""Accounts, tenants, keys and domains in a shell: `obm` is a client of the API."""

import re
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from cli.api import Api, find_credentials
from cli.first_message import create_sandbox_key
from mail.dkim_verify import parse_tags
from tests.support.accounts import keys_of_callers
from tests.support.engine import Engine
from tests.support.shell import Shell, run_obm


@pytest.fixture(scope="module")
def engine(own_engine: Engine) -> Engine:
    return own_engine


@pytest.fixture(scope="module")
def shell(engine: Engine) -> Shell:
    """It has no database."""
    key = keys_of_callers(engine.environment)["accounts"]
    return Shell({"OBM_API_URL": engine.url, "OBM_OPERATOR_KEY": key})


@pytest.fixture(scope="module")
def at_database(engine: Engine, shell: Shell) -> Shell:
    """A shell that has the settings of the services too, to create the first operator key."""
    return Shell({**engine.environment, **shell.environment})


@pytest.fixture(scope="module")
def api(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Api:
    return Api(find_credentials(shell.environment, tmp_path_factory.mktemp("empty")))


def test_account_tenant_domain_and_key_are_created_step_by_step(shell: Shell, api: Api) -> None:
    account = shell.obm("account", "create", "Acme")
    assert account in shell.obm("account", "list")
    tenant = shell.obm("tenant", "create", "shop", "--account", "Acme", "--per-hour", "100")
    assert tenant in shell.obm("tenant", "list")
    assert api.get(f"/tenants/{tenant}")["limits"]["per_hour"] == 100
    added = shell.obm("domain", "add", "Shop.Example.net", "--tenant", "shop")
    domain = added.splitlines()[0]
    assert api.find("domains", domain)["name"] == "shop.example.net"
    for mode in ("live", "test"):
        key = shell.obm("key", "create", "--tenant", "shop", f"--{mode}")
        assert key.startswith(f"obm_{mode}_")
    bound = ["--domain", "shop.example.net", "--cidr", "192.0.2.7/24", "--sending-only"]
    shell.obm("key", "create", "--tenant", tenant, "--test", "--name", "bound", *bound)
    [line] = [line for line in shell.obm("key", "list").splitlines() if "bound" in line]
    key_id = next(word for word in line.split() if word.count("-") == 4)
    [record] = [one for one in api.items("/api-keys") if one["id"] == key_id]
    assert (record["domain_id"], record["cidrs"]) == (domain, ["192.0.2.0/24"])
    assert record["permission"] == "sending_access"
    shell.obm("key", "delete", key_id)
    assert key_id not in shell.obm("key", "list")


def test_an_act_is_recorded_as_that_of_the_key(shell: Shell, api: Api) -> None:
    account = shell.obm("account", "create", "Recorded")
    [entry] = [one for one in api.items("/audit") if one["resource_id"] == account]
    assert (entry["actor"]["kind"], entry["action"]) == ("operator", "account.create")


def test_adding_a_domain_prints_its_dns_records(shell: Shell) -> None:
    shell.obm("account", "create", "Records")
    shell.obm("tenant", "create", "records", "--account", "Records")
    output = shell.obm("domain", "add", "records.example.net", "--tenant", "records")
    lines = [line for line in output.splitlines() if "_domainkey" in line]
    rsa, ed25519 = (parse_tags("".join(re.findall('"([^"]*)"', line))) for line in lines)
    key = load_der_public_key(b64decode(rsa["p"]))
    assert isinstance(key, RSAPublicKey)
    assert key.key_size == 2048
    assert (ed25519["k"], len(b64decode(ed25519["p"]))) == ("ed25519", 32)
    assert "bounce.records.example.net. IN MX 10 mx.example.net." in output
    for policy in ("enforced", "opportunistic"):
        shown = shell.obm("domain", "tls", "records.example.net", f"--{policy}")
        assert shown == f"tls: {policy}"
    again = shell.obm("domain", "records", "records.example.net")
    assert output.partition("\n")[2].strip() == again


def test_a_tenant_has_thresholds_limits_a_pool_and_policies(shell: Shell, api: Api) -> None:
    shell.obm("account", "create", "Fussy")
    pool = shell.obm("pool", "add", "fussy")
    options = ("--hold-score", "2.5", "--pool", "fussy", "--per-day", "9")
    policy = ("--reputation-policy", "strict")
    tenant = shell.obm("tenant", "create", "fussy", "--account", "Fussy", *options, *policy)
    shell.obm("tenant", "change", "fussy", "--per-second", "5", "--ambiguous", "fail")
    shown = api.get(f"/tenants/{tenant}")
    assert (shown["hold_score"], shown["pool_id"]) == (2.5, pool)
    assert shown["limits"] == {"per_second": 5, "per_hour": None, "per_day": 9}
    assert (shown["ambiguous_policy"], shown["reputation_policy"]) == ("fail", "strict")
    shell.obm("tenant", "change", "fussy", "--per-second", "0", "--reputation-policy", "default")
    shown = api.get(f"/tenants/{tenant}")
    assert (shown["limits"]["per_second"], shown["reputation_policy"]) == (None, "default")
    assert shown["limits"]["per_day"] == 9
    assert "There is no pool 'nowhere'" in shell.refused(
        "tenant", "change", "fussy", "--pool", "nowhere"
    )


def test_a_tenant_is_paused_and_an_account_suspended(shell: Shell, api: Api) -> None:
    account = shell.obm("account", "create", "Pausing")
    tenant = shell.obm("tenant", "create", "pausing", "--account", "Pausing")
    shell.obm("tenant", "pause", "pausing", "--reason", "complaints")
    assert api.get(f"/tenants/{tenant}")["pause"]["reason"] == "complaints"
    shell.obm("tenant", "resume", "pausing")
    assert api.get(f"/tenants/{tenant}")["status"] == "active"
    shell.obm("account", "suspend", "Pausing", "--reason", "unpaid")
    assert api.get(f"/accounts/{account}")["status_reason"] == "unpaid"
    shell.obm("account", "resume", "Pausing")
    assert api.get(f"/accounts/{account}")["status"] == "active"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("tenant create x --account Nobody", "There is no account 'Nobody'"),
        ("domain add twice.example.net --tenant strict", ""),
        ("domain add no..domain --tenant strict", "is not a valid"),
        ("domain add com --tenant strict", "it has no dot"),
        ("domain add co.uk --tenant strict", "is a public suffix"),
        ("domain add 10.0.0.1 --tenant strict", "ends in a number"),
        ("domain add ::1 --tenant strict", "is not a valid"),
        ("domain show nowhere.example.net", "There is no domain 'nowhere.example.net'"),
        ("account remove Strict", "The account has tenants"),
        ("key create --tenant strict --test --cidr 1.2.3", "Invalid cidrs"),
        ("key create --tenant strict --test --domain other.example.net", "cannot send from"),
        ("key create --tenant 01890000-0000-7000-8000-000000000000 --test", "There is no tenant"),
        ("key delete 7", "The API key was not found"),
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


def test_two_accounts_can_have_one_domain_and_an_operator_can_vouch_for_it(
    shell: Shell, api: Api
) -> None:
    for name in ("Holder", "Wanting"):
        shell.obm("account", "create", name)
        shell.obm("tenant", "create", name, "--account", name)
    add = ("domain", "add", "wanted.example.net", "--tenant")
    checked = shell.obm(*add, "Holder").split()[0]
    vouched = shell.obm(*add, "Wanting", "--verified").split()[0]

    one, other = (api.find("domains", domain) for domain in (checked, vouched))
    assert one["dkim_selectors"] != other["dkim_selectors"]
    assert (one["status"], other["status"]) == ("not_started", "verified")
    assert "There is more than one domain" in shell.refused("domain", "show", "wanted.example.net")
    assert "(vouched for)" in shell.obm("domain", "show", vouched)


def test_a_domain_is_shown_checked_and_rotated(shell: Shell) -> None:
    shell.obm("account", "create", "Rotating")
    shell.obm("tenant", "create", "rotating", "--account", "Rotating")
    shell.obm("domain", "add", "rotating.example.net", "--tenant", "rotating")
    assert "rotating.example.net: not_started" in shell.obm(
        "domain", "show", "rotating.example.net"
    )
    shell.obm("domain", "verify", "rotating.example.net")
    assert "rotating.example.net: pending" in shell.obm("domain", "show", "rotating.example.net")
    rotate = ("domain", "rotate-dkim", "rotating.example.net")
    assert shell.obm(*rotate).count("_domainkey") == 4
    assert "being rotated" in shell.refused(*rotate)


def test_a_sandbox_key_can_be_created_again(api: Api) -> None:
    first, second = (create_sandbox_key(api, "demo.example.net") for _ in range(2))
    assert first != second
    assert len(list(api.items("/domains", name="demo.example.net"))) == 1


def test_entries_can_be_removed_after_those_that_belong_to_them(shell: Shell) -> None:
    shell.obm("account", "create", "Gone")
    shell.obm("tenant", "create", "gone", "--account", "Gone")
    shell.obm("domain", "add", "gone.example.net", "--tenant", "gone")
    assert "The tenant has domains" in shell.refused("tenant", "remove", "gone")

    shell.obm("domain", "remove", "gone.example.net")
    shell.obm("tenant", "remove", "gone")
    shell.obm("account", "remove", "Gone")

    assert "gone.example.net" not in shell.obm("domain", "list")
    assert "Gone" not in shell.obm("account", "list")


def test_a_tenant_gets_a_pool_of_its_own_with_spare_sources(shell: Shell, api: Api) -> None:
    shell.obm("account", "create", "Bank")
    bank = ("tenant", "create", "bank", "--account", "Bank", "--dedicated")
    assert "The pool spare has 0 of the 1 free egress sources" in shell.refused(*bank, "1")
    shell.obm("pool", "add", "spare")
    added = [shell.obm("egress", "add", f"127.0.0.{last}", "--pool", "spare") for last in (81, 82)]
    paused = shell.obm("egress", "add", "127.0.0.83", "--pool", "spare")
    shell.obm("egress", "pause", paused)
    assert "has 2 of the 3 free egress sources" in shell.refused(*bank, "3")
    refusal = shell.refused("tenant", "create", "bank", "--account", "Nobody", "--dedicated", "1")
    assert "There is no account" in refusal
    assert "bank" not in shell.obm("pool", "list")
    assert "either --pool or --dedicated" in shell.refused(*bank, "1", "--pool", "default")

    tenant = shell.obm(*bank, "1", "--warmup", "default")

    pool_id = api.get(f"/tenants/{tenant}")["pool_id"]
    lines = {one: shell.obm("egress", "list").split(one)[1].splitlines()[0] for one in added}
    assert " bank " in lines[added[0]]
    assert " spare " in lines[added[1]]
    assert pool_id in shell.obm("pool", "list")
    second = shell.obm("tenant", "create", "two", "--account", "Bank", "--dedicated", "1")
    assert api.get(f"/tenants/{second}")["pool_id"] != pool_id


def test_a_pool_that_a_command_has_left_without_a_tenant_is_used_again(
    shell: Shell, api: Api
) -> None:
    shell.obm("account", "create", "Cut")
    left = shell.obm("pool", "add", "cut")
    shell.obm("egress", "add", "127.0.0.84", "--pool", "cut")
    tenant = shell.obm("tenant", "create", "cut", "--account", "Cut", "--dedicated", "1")
    assert api.get(f"/tenants/{tenant}")["pool_id"] == left
    again = shell.refused("tenant", "create", "cut", "--account", "Cut", "--dedicated", "1")
    assert "There is a pool cut already" in again


def test_a_key_expires_within_a_hundred_years(shell: Shell) -> None:
    code, _, err = run_obm("key", "create", "--tenant", "x", "--test", "--days", "36501")
    assert (code, "--days" in err) == (2, True)


def test_an_empty_name_is_refused(shell: Shell) -> None:
    assert "length >= 1" in shell.refused("account", "create", " ")


def test_operator_keys_are_created_at_the_database_and_listed_by_the_api(
    shell: Shell, at_database: Shell
) -> None:
    secret = at_database.obm("operator-key", "create", "--name", "laptop", "--cidr", "127.0.0.0/8")
    other = Shell({**shell.environment, "OBM_OPERATOR_KEY": secret})
    [line] = [one for one in other.obm("operator-key", "list").splitlines() if "laptop" in one]
    key_id = next(word for word in line.split() if word.count("-") == 4)
    shell.obm("operator-key", "delete", key_id)
    refusal = other.refused("account", "list")
    assert "The key is that of OBM_OPERATOR_KEY" in refusal


def test_the_key_of_a_tenant_is_refused_by_the_name_of_its_variable(engine: Engine) -> None:
    shell = Shell({"OBM_API_URL": engine.url, "OBM_API_KEY": engine.account.api_key})
    refusal = shell.refused("account", "create", "Acme")
    assert "Use the key of an operator. The key is that of OBM_API_KEY" in refusal


def test_without_a_running_engine_the_error_has_a_hint(tmp_path: Path) -> None:
    code, _, err = run_obm(f"--data={tmp_path}", "account", "list")
    assert code == 1
    assert "There is no operator key" in err
    assert str(tmp_path) in err
    settings = {"OBM_API_URL": "http://127.0.0.1:9/v1", "OBM_OPERATOR_KEY": "obm_live_x"}
    code, _, err = run_obm(f"--data={tmp_path}", "account", "list", **settings)
    assert (code, "The API at http://127.0.0.1:9/v1 does not respond" in err) == (1, True)
