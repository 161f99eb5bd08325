"""Large requests of one tenant leave memory for those of others, and always for small ones."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.ingest.api.grpc import server as grpc_server
from services.ingest.api.grpc.server import Context, read_message
from services.ingest.domain.body_memory import UNCOUNTED_BYTES, BodyMemory
from services.ingest.domain.problem import Problem
from tests.support import rest_api

MEGA = 1024 * 1024
ROOM = 8 * MEGA  # 2 of each tenant


def refusal(bodies: BodyMemory, tenant_id: str, octets: int) -> tuple[int, int | None]:
    with pytest.raises(Problem) as refused:
        bodies.reserve(tenant_id).resize(octets)
    return refused.value.status, refused.value.retry_after_s


def test_a_tenant_can_use_a_quarter_of_the_memory() -> None:
    bodies = BodyMemory(ROOM)
    first = bodies.reserve("a")
    first.resize(MEGA)
    first.resize(2 * MEGA)
    assert refusal(bodies, "a", MEGA) == (429, 1)
    bodies.reserve("a").resize(UNCOUNTED_BYTES)
    bodies.reserve("b").resize(2 * MEGA)
    first.close()
    bodies.reserve("a").resize(2 * MEGA)


def test_the_memory_of_all_tenants_is_bounded() -> None:
    bodies = BodyMemory(ROOM)
    for tenant_id in "abcd":
        bodies.reserve(tenant_id).resize(2 * MEGA)
    assert refusal(bodies, "e", MEGA) == (503, 2)
    bodies.reserve("e").resize(UNCOUNTED_BYTES)


def test_a_refused_request_does_not_change_the_count() -> None:
    bodies = BodyMemory(ROOM)
    with pytest.raises(Problem):
        bodies.reserve("a").resize(3 * MEGA)
    bodies.reserve("a").resize(2 * MEGA)


@pytest.mark.parametrize("path", ["/v1/webhooks", "/v1/emails/batch"])
def test_a_body_is_refused_until_there_is_memory_for_it(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    bodies = BodyMemory(ROOM)
    monkeypatch.setattr(rest_api.OpenAccess, "bodies", bodies)
    other = bodies.reserve(rest_api.ID)
    other.resize(2 * MEGA)
    body = b" " * MEGA
    response = rest_api.call_api("POST", path, content=body)
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    other.close()
    assert rest_api.call_api("POST", path, content=body).status_code == 400
    bodies.reserve(rest_api.ID).resize(2 * MEGA)  # all memory is freed


def test_a_message_that_does_not_arrive_counts_as_the_largest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_server, "CHECK_S", 0.0)

    async def scenario() -> int:
        bodies = BodyMemory(256 * MEGA)
        context = cast(Context, SimpleNamespace(read=asyncio.Event().wait))
        bodies.reserve("a").resize(60 * MEGA)
        with pytest.raises(Problem) as refused:
            async with asyncio.timeout(10):
                await read_message(context, bodies.reserve("a"))
        return refused.value.status

    assert asyncio.run(scenario()) == 429


async def test_a_message_that_has_arrived_counts_with_its_size() -> None:
    bodies = BodyMemory(ROOM)
    reservation = bodies.reserve("a")
    arrived = grpc_server.SizedMessage(cast(Any, "message"), 2 * MEGA)

    async def there() -> grpc_server.SizedMessage:
        return arrived

    assert await read_message(cast(Context, SimpleNamespace(read=there)), reservation) == "message"
    assert refusal(bodies, "a", MEGA) == (429, 1)
