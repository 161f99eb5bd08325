"""Versions of what was learned are listed to operators, and withdrawn, by REST and by gRPC."""

from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import psycopg
import pytest

from contracts.ingest.v1 import model_service_pb2 as pb
from contracts.ingest.v1.model_service_pb2_grpc import ModelServiceStub
from contracts.shield.v1.learning_pb2 import ModelPublished
from tests.support.accounts import keys_of_callers
from tests.support.engine import Engine, until
from tests.support.shell import Shell

MODEL = "0-00000000"  # another one than is in use: no message is screened with it
VERSIONS = [f"{MODEL}+{number}" for number in range(3)]
PATH = "/shield/versions"


@pytest.fixture
def operator_key(engine: Engine) -> str:
    return keys_of_callers(engine.environment)["accounts"]


@pytest.fixture
def operator(engine: Engine, operator_key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {operator_key}"}
    with httpx.Client(base_url=engine.url, headers=headers, timeout=60) as made:
        yield made


@pytest.fixture(autouse=True)
def published(engine: Engine) -> Iterator[None]:
    """Three versions. The last one scores beside the second one."""
    rows = [
        (number, one, ModelPublished(version=one, model_version=MODEL, campaigns=7, auc=0.99))
        for number, one in enumerate(VERSIONS, 1)
    ]
    url = engine.environment["SHIELD_SYSTEM_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        for number, name, event in rows:
            event.published_at.FromSeconds(1_790_000_000 + number)
            connection.execute(
                "INSERT INTO shield.learned_versions (number, version, published, tables)"
                " VALUES (%s, %s, %s, '')",
                (number, name, event.SerializeToString()),
            )
        connection.execute(
            "INSERT INTO shield.rollout (next_offset, live, shadow) VALUES (3, %s, %s)",
            VERSIONS[1:],
        )
        yield
        connection.execute("DELETE FROM shield.learned_versions")
        connection.execute("DELETE FROM shield.rollout")


def test_versions_are_listed_and_reviewed(operator: httpx.Client) -> None:
    listed = operator.get(PATH).raise_for_status().json()
    assert [(one["id"], one["role"]) for one in listed["data"]] == [
        (VERSIONS[2], "shadow"), (VERSIONS[1], "live"), (VERSIONS[0], "past"),
    ]  # fmt: skip
    assert listed["data"][0]["campaigns"] == 7
    assert listed["data"][0]["due_at"] is None
    page = operator.get(PATH, params={"limit": 1, "after": VERSIONS[2]}).json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([VERSIONS[1]], True)
    assert operator.get(PATH, params={"after": "x"}).status_code == 404

    def review(version: str, act: str, **body: str) -> httpx.Response:
        return operator.post(f"{PATH}/{version}/{act}", json=body)

    taken = review(VERSIONS[2], "withdraw", reason="it holds receipts").raise_for_status().json()
    assert taken == listed["data"][0]  # as it was: the learner obeys, if it knows the version
    early = review(VERSIONS[2], "promote", reason="a wave of phishing")
    assert early.status_code == 409  # learning only watches
    assert "SHIELD_LEARNING" in early.json()["detail"]
    assert review(VERSIONS[0], "withdraw", reason="x").status_code == 409
    assert review("1-0+0", "withdraw", reason="x").status_code == 404
    missing = review(VERSIONS[2], "withdraw")
    assert (missing.status_code, missing.json()["errors"][0]["pointer"]) == (422, "#/reason")
    [entry] = operator.get("/audit", params={"action": "learned_version.withdraw"}).json()["data"]
    assert entry["before"]["published"]["version"] == VERSIONS[2]
    assert entry["after"]["reason"] == "it holds receipts"


def test_versions_by_grpc_and_only_for_operators(engine: Engine, operator_key: str) -> None:
    with grpc.insecure_channel(engine.environment["INGEST_GRPC_LISTEN"]) as channel:
        stub: Any = ModelServiceStub(channel)

        def call(name: str, key: str, **fields: object) -> Any:  # noqa: ANN401 - its response
            request = getattr(pb, f"{name}Request")(**fields)
            metadata = (("authorization", f"Bearer {key}"),)
            return getattr(stub, name)(request, metadata=metadata, timeout=60)

        def refusal(name: str, key: str, **fields: object) -> grpc.StatusCode:
            with pytest.raises(grpc.RpcError) as refused:
                call(name, key, **fields)
            error: Any = refused.value
            code: grpc.StatusCode = error.code()
            return code

        first = call("ListVersions", operator_key, page_size=2)
        assert [one.id for one in first.versions] == [VERSIONS[2], VERSIONS[1]]
        rest = call("ListVersions", operator_key, page_token=first.next_page_token)
        assert [one.id for one in rest.versions] == [VERSIONS[0]]
        until(lambda: bool(call("ListModels", operator_key).models))  # published after the start
        [shipped] = call("ListModels", operator_key).models
        assert shipped.role == "live"
        taken = call("WithdrawVersion", operator_key, id=VERSIONS[1], reason="it holds receipts")
        assert (taken.version.id, taken.version.role) == (VERSIONS[1], "live")
        of = {"id": VERSIONS[2], "reason": "x"}
        early = refusal("PromoteVersion", operator_key, **of)
        assert early == grpc.StatusCode.FAILED_PRECONDITION
        for name, fields in (("ListVersions", {}), ("ListModels", {}), ("WithdrawVersion", of)):
            own = refusal(name, engine.account.api_key, **fields)
            assert own == grpc.StatusCode.PERMISSION_DENIED


def test_versions_in_a_shell(engine: Engine, operator_key: str) -> None:
    shell = Shell({"OBM_API_URL": engine.url, "OBM_OPERATOR_KEY": operator_key})
    listed = shell.obm("learned-versions", "list", "--limit", "2")
    assert [one in listed for one in VERSIONS] == [False, True, True]
    done = shell.obm("learned-versions", "withdraw", VERSIONS[2], "--reason", "it holds receipts")
    assert VERSIONS[2] in done
    early = ("learned-versions", "promote", VERSIONS[2], "--reason", "a wave of phishing")
    assert "SHIELD_LEARNING" in shell.refused(*early)
