"""Every public RPC refuses whom the REST operation of its name refuses, with the same words, before
it does anything: the services behind it do not exist here."""

from uuid import uuid4

import pytest

from kernel import auth
from services.ingest.api.grpc.base import RULES, operation_of, rule_of
from services.ingest.domain.problem import Problem
from tests.support.known_keys import ACCESS, KEYS, KINDS, MINE, OTHER, SCOPES
from tests.support.public_rpcs import RefusedError, Rpc, rpcs, services_with

EVERY = [pytest.param(one, id=one.method.name) for one in rpcs(services_with(ACCESS))]


async def refusal(rpc: Rpc, key: str = "", tenant: str = MINE) -> tuple[int, str, str]:
    """Code, reason and text."""
    metadata = [("authorization", f"Bearer {key}")] if key else []
    with pytest.raises(RefusedError) as refused:
        await rpc.call(rpc.request(), *metadata, ("x-tenant-id", tenant))
    return refused.value.status.code, refused.value.reason, refused.value.status.message


async def rest_refusal(rpc: Rpc, kind: str) -> tuple[str, str]:
    """Name and text of the refusal by the same access control, as REST calls it."""
    with pytest.raises(Problem) as refused:
        await ACCESS.authenticate_caller(
            f"Bearer {KEYS.secrets[kind, 'full_access']}", "192.0.2.1",
            rule=rule_of(rpc.method.name), named_tenant=str,
        )  # fmt: skip
    return refused.value.name, refused.value.detail


@pytest.mark.parametrize("rpc", EVERY)
async def test_other_kinds_of_callers_are_refused(rpc: Rpc) -> None:
    admitted = rule_of(rpc.method.name).callers
    assert admitted
    for kind in KINDS.keys() - {one.value for one in admitted}:
        code, *refused = await refusal(rpc, KEYS.secrets[kind, "full_access"])
        assert code == 7, kind
        assert tuple(refused) == await rest_refusal(rpc, kind)


@pytest.mark.parametrize("rpc", EVERY)
async def test_nobody_passes_without_a_key_or_its_scope(rpc: Rpc) -> None:
    assert (await refusal(rpc))[:2] == (16, "missing_api_key")
    unknown = auth.generate_key(test=False, brand="obm")
    assert (await refusal(rpc, unknown))[:2] == (7, "invalid_api_key")
    rule = rule_of(rpc.method.name)
    for kind in rule.callers:
        for scope in {*SCOPES} - {rule.scope, "full_access"}:
            code, reason, _ = await refusal(rpc, KEYS.secrets[kind.value, scope])
            assert (code, reason) == (7, "restricted_api_key"), (kind, scope)


@pytest.mark.parametrize("rpc", EVERY)
async def test_the_tenant_of_another_account_is_like_one_that_does_not_exist(rpc: Rpc) -> None:
    rule = rule_of(rpc.method.name)
    if "account" not in rule.callers or not (rule.names_tenant or rule.may_name_tenant):
        return
    key = KEYS.secrets["account", "full_access"]
    refused = {await refusal(rpc, key, tenant) for tenant in (OTHER, str(uuid4()), "x")}
    assert len(refused) == 1
    assert next(iter(refused))[:2] == (5, "not_found")


ONLY_REST = {"getRawSandboxMessage"}  # GetSandboxMessage has the raw message


def test_every_operation_of_rest_has_an_rpc_with_its_access_rule() -> None:
    """A new route without an RPC needs a reason in ONLY_REST."""
    by_operation = {operation_of(one.method.name): one for one in rpcs(services_with(ACCESS))}
    assert RULES.keys() - by_operation.keys() == ONLY_REST
    assert by_operation.keys() <= RULES.keys()
    for operation, rpc in by_operation.items():
        assert rule_of(rpc.method.name) == RULES[operation]
