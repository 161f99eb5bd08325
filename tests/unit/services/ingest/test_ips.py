"""Requests about egress sources and overrides: their fields, and who sees what."""

import asyncio
import json
from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import grpc
import httpx
import pytest

from contracts.ingest.v1.directory_pb2 import ApiKey, ApiKeyKind, Tenant
from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.directory_pb2 import EgressSource
from contracts.router.v1.policies_pb2 import OverrideSet, StandingChanged, WarmupChanged
from kernel.rpc import RpcError
from services.ingest.api.administration.directory import DEFAULT_POOL
from services.ingest.api.callers import Caller
from services.ingest.api.egress.views import id_of_override
from services.ingest.api.egress.visibility import visible_pools, visible_scopes
from services.ingest.clients import problem_of
from services.ingest.domain.rate_limiter import RateLimitStatus
from services.ingest.store.directory_lists import EntryOwner
from tests.support.rest_api import ID, OpenAccess, application_with

EGRESS, OTHER = "01890000-0000-7000-8000-00000000000a", "01890000-0000-7000-8000-00000000000b"
POOL, OTHER_POOL = "01890000-0000-7000-8000-00000000000c", "01890000-0000-7000-8000-00000000000d"
TENANT = Tenant(tenant_id=ID, account_id=ID, pool_id=POOL)
OPERATOR = ApiKey(key_id=ID, kind=ApiKeyKind.API_KEY_KIND_OPERATOR)
WARMUP = pb.Warmup(
    state=WarmupChanged(status="ramping", ramp="default", stage=1, per_day=500),
    stages=20, used=80, delivered=60,
)  # fmt: skip


def override(scope: str, action: str, seconds: int = 1_795_000_000) -> OverrideSet:
    made = OverrideSet(override_id=f"operator/{scope}/{seconds}", scope=scope, action=action)
    made.set_at.seconds, made.until.seconds, made.ends_at.seconds = seconds, seconds, seconds
    return made


SUSPENDED = override(f"egress_site/{EGRESS}/yahoo", "suspend_site")
SOURCES = [
    pb.Source(
        source=EgressSource(
            egress_id=EGRESS, pool_id=POOL, source_ip="192.0.2.1", egress_host="out1.example:1080"
        ),
        state="warming", warmup=WARMUP, in_flight=7, overrides=[SUSPENDED],
    ),
    pb.Source(source=EgressSource(egress_id=OTHER, pool_id=OTHER_POOL), state="active"),
]  # fmt: skip
OVERRIDES = [
    SUSPENDED,
    override(f"tenant/{ID}", "slow_down"),
    override(f"tenant_site/{ID}/yahoo", "suspend_tenant_site"),
    override(f"tenant/{OTHER}", "pause_tenant"),
]
STANDINGS = [
    StandingChanged(subject_kind=kind, subject_id=subject, standing="warned")
    for kind, subject in (("tenant", ID), ("tenant", OTHER), ("egress", EGRESS))
]
LISTS = {
    "ListSources": pb.ListSourcesResponse(),
    "ListOverrides": pb.ListOverridesResponse(overrides=OVERRIDES),
    "ListStandings": pb.ListStandingsResponse(standings=STANDINGS),
}


def sources_of(request: pb.ListSourcesRequest) -> list[pb.Source]:
    """As the router selects them."""
    wanted = [
        one
        for one in SOURCES
        if request.egress_id in {"", one.source.egress_id}
        and request.address in {"", one.source.source_ip}
        and (not request.pool_ids or one.source.pool_id in request.pool_ids)
        and (not request.after or one.source.egress_id < request.after)
    ]
    return sorted(wanted, key=lambda one: one.source.egress_id, reverse=True)


class EgressRouterClient:
    """Its lists; every command is refused. refusal: the next one."""

    refusal: RpcError

    def __init__(self) -> None:
        names = (*LISTS, "Execute", "AddSource", "ChangeSource", "ResumeSource", "RemoveSource")
        self.stub = SimpleNamespace(**{name: name for name in names})

    async def call(self, method: str, request: Any, **_: object) -> object:  # noqa: ANN401
        if method == "ListSources":
            return pb.ListSourcesResponse(sources=sources_of(request))
        if method in LISTS:
            return LISTS[method]
        raise problem_of(self.refusal)


class As(OpenAccess):
    """Authenticates as an operator, or as a key of TENANT."""

    def __init__(self, key: ApiKey) -> None:
        super().__init__(key)
        self._caller = Caller(key, None if key == OPERATOR else TENANT)

    async def authenticate_caller(self, *_: object, **__: object) -> tuple[Caller, RateLimitStatus]:
        return self._caller, RateLimitStatus(9, 9, 1, 0)


def refusal_of(field: str = "", code: Any = grpc.StatusCode.INVALID_ARGUMENT) -> RpcError:  # noqa: ANN401 - grpc has no types
    return RpcError(code, "Refused.", field)


def call(
    method: str, path: str, body: object = None, *, key: ApiKey = OPERATOR,
    refusal: RpcError = refusal_of(),  # noqa: B008 - immutable
) -> httpx.Response:  # fmt: skip
    app, router = rest_api(key.SerializeToString())
    router.refusal = refusal

    async def scenario() -> httpx.Response:
        transport = httpx.ASGITransport(cast(Any, app))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            content = None if body is None else json.dumps(body).encode()
            fields = {"Content-Type": "application/json"} if content else {}
            return await client.request(method, path, content=content, headers=fields)

    return asyncio.run(scenario())


@cache
def rest_api(key: bytes) -> tuple[object, EgressRouterClient]:
    """Made once for each key: making the routes takes longer than a request."""
    router = EgressRouterClient()
    clients = SimpleNamespace(
        **dict.fromkeys(("router", "events", "delivery", "shield", "held")),
        policies=router,
        egress=router,
    )
    return application_with.__wrapped__(As(ApiKey.FromString(key)), "", clients), router


IP = f"/v1/ips/{EGRESS}"
LATER = "in 2 hours"


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer"),
    [
        ("POST", "/v1/ips", {}, "#/addresses"),
        ("POST", "/v1/ips", {"addresses": ["192.0.2.1", "192.0.2.2", "::1"]}, "#/addresses"),
        ("POST", "/v1/ips", {"addresses": [7]}, "#/addresses/0"),
        ("POST", "/v1/ips", {"addresses": ["192.0.2.1"], "pool_id": "x"}, "#/pool_id"),
        ("POST", "/v1/ips", {"addresses": ["192.0.2.1"], "ehlo": "x" * 254}, "#/ehlo"),
        ("POST", "/v1/ips", {"addresses": ["192.0.2.1"], "ip": 1}, "#/ip"),
        ("POST", "/v1/ips", {"addresses": ["192.0.2.1"], "egress_host": 1}, "#/egress_host"),
        ("PATCH", IP, {"egress_host": "a\nb:1"}, "#/egress_host"),
        ("PATCH", IP, {"addresses": []}, "#/addresses"),
        ("PATCH", IP, {"paused": "yes"}, "#/paused"),
        ("PATCH", IP, {"pool_id": "default"}, "#/pool_id"),
        ("POST", f"{IP}/warmup", {"action": "skip"}, "#/action"),
        ("POST", f"{IP}/warmup", {"action": "lower"}, "#/stage"),
        ("POST", f"{IP}/warmup", {"action": "lower", "stage": 0}, "#/stage"),
        ("POST", f"{IP}/warmup", {"action": "lower", "stage": 9}, "#/stage"),
        ("POST", f"{IP}/warmup", {"action": "start", "ramp": "steep"}, "#/ramp"),
        ("POST", f"{IP}/suspend", {}, "#/until"),
        ("POST", f"{IP}/suspend", {"until": "2020-01-01T00:00:00Z"}, "#/until"),
        ("POST", f"{IP}/suspend", {"until": "in 5 weeks"}, "#/until"),
        ("POST", f"{IP}/suspend", {"until": LATER, "site": "a/b"}, "#/site"),
        ("POST", f"{IP}/suspend", {"until": LATER, "site": "yahooo"}, "#/site"),
        ("POST", f"{IP}/resume", {"site": "a b"}, "#/site"),
        ("POST", "/v1/overrides", {"site": "yahoo"}, "#"),
        ("POST", "/v1/overrides", {"egress_id": EGRESS}, "#"),
        ("POST", "/v1/overrides", {"egress_id": EGRESS, "tenant_id": ID, "site": "yahoo"}, "#"),
        ("POST", "/v1/overrides", {"egress_id": "192.0.2.1", "site": "yahoo"}, "#/egress_id"),
        ("POST", "/v1/overrides", {"egress_id": ID, "site": "yahoo"}, "#/egress_id"),
        ("POST", "/v1/overrides", {"egress_id": EGRESS, "site": "yahooo"}, "#/site"),
        ("POST", "/v1/overrides", {"egress_id": EGRESS, "site": "yahoo", "hours": 0}, "#/hours"),
        ("POST", "/v1/overrides", {"egress_id": EGRESS, "site": "yahoo", "hours": 721}, "#/hours"),
        ("POST", "/v1/overrides", {"tenant_id": "shop"}, "#/tenant_id"),
        ("POST", "/v1/overrides", {"tenant_id": ID, "per_minute": -1}, "#/per_minute"),
        ("POST", "/v1/overrides", {"tenant_id": ID, "reason": "x" * 201}, "#/reason"),
        ("GET", "/v1/ips?pool_id=default", None, "#/query/pool_id"),
    ],
)
def test_a_wrong_field_is_named(method: str, path: str, body: object, pointer: str) -> None:
    response = call(method, path, body)
    assert response.status_code == 422
    assert [one["pointer"] for one in response.json()["errors"]] == [pointer]


@pytest.mark.parametrize("field", ["addresses", "pool_id", "ehlo", "egress_host", "warmup"])
def test_a_field_that_the_router_refuses_is_named(field: str) -> None:
    given = {"addresses": ["192.0.2.9"]}
    refused = call("POST", "/v1/ips", given, refusal=refusal_of(field))
    assert (refused.status_code, refused.json()["detail"]) == (422, "Refused.")
    assert refused.json()["errors"][0]["pointer"] == f"#/{field}"
    taken = refusal_of(field, grpc.StatusCode.ALREADY_EXISTS)
    conflict = call("POST", "/v1/ips", given, refusal=taken)
    assert (conflict.status_code, conflict.json()["name"]) == (409, "already_exists")
    assert conflict.json()["errors"][0]["pointer"] == f"#/{field}"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        (method, path.format(one), body)
        for one in ("x", ID, f"{{{EGRESS}}}")
        for method, path, body in (
            ("GET", "/v1/ips/{}", None),
            ("PATCH", "/v1/ips/{}", {"paused": True}),
            ("DELETE", "/v1/ips/{}", None),
            ("POST", "/v1/ips/{}/warmup", {"action": "pause"}),
            ("POST", "/v1/ips/{}/suspend", {"until": LATER}),
            ("POST", "/v1/ips/{}/resume", None),
            ("DELETE", "/v1/overrides/{}", None),
        )
    ],
)
def test_an_id_of_nothing_is_not_found(method: str, path: str, body: object) -> None:
    assert call(method, path, body).status_code == 404


@pytest.mark.parametrize(("path", "action"), [(IP, "pause"), (f"/v1/ips/{OTHER}", "lower")])
def test_an_action_that_does_not_apply_to_a_warmup_is_a_conflict(path: str, action: str) -> None:
    response = call("POST", f"{path}/warmup", {"action": action, "stage": 1})
    assert (response.status_code, response.json()["name"]) == (409, "conflict")


def test_an_operator_sees_all_sources_and_their_counts() -> None:
    shown = {one["id"]: one for one in call("GET", "/v1/ips").json()["data"]}
    assert shown.keys() == {EGRESS, OTHER}
    assert shown[OTHER] == {
        "object": "ip", "id": OTHER, "addresses": [], "ehlo": None, "pool_id": OTHER_POOL,
        "egress_host": None,
        "state": "active", "paused": False, "suspended_until": None, "in_flight": 0,
        "problems": [], "dnsbl": [], "dnsbl_history": [], "warmup": None, "sites": [],
    }  # fmt: skip
    assert shown[EGRESS]["egress_host"] == "out1.example:1080"
    warmup = shown[EGRESS]["warmup"]
    assert (warmup["stage"], warmup["of"], warmup["allowance_today"]) == (2, 20, 500)
    assert (warmup["sent"], warmup["delivered_share"]) == (80, 0.75)
    [site] = shown[EGRESS]["sites"]
    assert (site["site"], site["overrides"]) == ("yahoo", ["suspend_site"])
    found = call("GET", "/v1/ips?address=192.0.2.1").json()["data"]
    assert [one["id"] for one in found] == [EGRESS]


def test_a_tenant_sees_the_sources_of_its_pool_without_the_mail_of_others() -> None:
    [shown] = call("GET", "/v1/ips", key=ApiKey(tenant_id=ID)).json()["data"]
    assert (shown["id"], shown["in_flight"], shown["warmup"]["sent"]) == (EGRESS, None, None)
    assert shown["egress_host"] is None
    assert call("GET", IP, key=ApiKey(tenant_id=ID)).json() == shown
    missing = call("GET", f"/v1/ips/{OTHER}", key=ApiKey(tenant_id=ID))
    assert missing.status_code == 404


def test_a_tenant_sees_its_own_overrides_and_standing() -> None:
    def listed(path: str, name: str, key: ApiKey) -> set[str]:
        return {one[name] for one in call("GET", path, key=key).json()["data"]}

    own = ApiKey(tenant_id=ID)
    assert listed("/v1/overrides", "scope", own) == {f"tenant/{ID}", f"tenant_site/{ID}/yahoo"}
    assert listed("/v1/overrides", "scope", OPERATOR) == {one.scope for one in OVERRIDES}
    assert listed("/v1/standings", "id", own) == {f"tenant/{ID}"}
    assert len(listed("/v1/standings", "id", OPERATOR)) == 3


class TwoTenants:
    """In place of the directory: an account with a tenant in a pool of its own, and another."""

    async def pools_of(self, owner: EntryOwner) -> set[str]:
        assert owner == EntryOwner(ID)
        return {POOL, DEFAULT_POOL}

    async def tenants_among(self, owner: EntryOwner, ids: Sequence[str]) -> set[str]:
        assert owner == EntryOwner(ID)
        return {ID, OTHER} & {*ids}


async def test_an_account_sees_the_pools_and_scopes_of_all_its_tenants() -> None:
    account = Caller(ApiKey(account_id=ID, kind=ApiKeyKind.API_KEY_KIND_ACCOUNT))
    directory = cast(Any, TwoTenants())
    assert await visible_pools(account, directory) == {POOL, DEFAULT_POOL}
    own = {f"tenant_site/{ID}/yahoo", f"tenant/{OTHER}"}
    others = {f"tenant/{EGRESS}", f"egress_site/{ID}/yahoo", f"site/{ID}", "engine/"}
    assert await visible_scopes(account, directory, own | others) == own


@pytest.mark.parametrize("path", ["/v1/ips", IP, "/v1/overrides", "/v1/standings"])
def test_a_test_key_sees_nothing_of_live_mail(path: str) -> None:
    assert call("GET", path, key=ApiKey(tenant_id=ID, test=True)).status_code == 403


def test_ids_of_overrides_differ_and_sort_by_time() -> None:
    def id_of(site: int, at: int) -> str:
        return id_of_override(override(f"tenant_site/{ID}/{site}", "slow_down", at))

    made = [id_of(site, at) for at in range(1, 30) for site in range(30)]
    assert len(set(made)) == len(made)
    times = [one[:13] for one in made]
    assert times == sorted(times)
    assert id_of(1, 1) == id_of(1, 1)
