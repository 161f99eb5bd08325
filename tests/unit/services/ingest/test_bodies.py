"""One caller's large requests leave room for those of others, and for small ones always."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.ingest.api import grpc_server
from services.ingest.api.grpc_server import Context, read_message
from services.ingest.domain.bodies import UNCOUNTED_BYTES, BodyMemory
from services.ingest.domain.problem import Problem
from tests.support import rest_api

MEGA = 1024 * 1024
ROOM = 8 * MEGA  # 2 of each tenant


def refusal(bodies: BodyMemory, tenant_id: str, octets: int) -> tuple[int, int | None]:
    with pytest.raises(Problem) as refused:
        bodies.reserve(tenant_id).resize(octets)
    return refused.value.status, refused.value.retry_after_s


def test_a_tenant_may_have_a_quarter_of_the_room() -> None:
    bodies = BodyMemory(ROOM)
    first = bodies.reserve("a")
    first.resize(MEGA)
    first.resize(2 * MEGA)
    assert refusal(bodies, "a", MEGA) == (429, 1)
    bodies.reserve("a").resize(UNCOUNTED_BYTES)
    bodies.reserve("b").resize(2 * MEGA)
    first.close()
    bodies.reserve("a").resize(2 * MEGA)


def test_what_all_have_together_is_bounded() -> None:
    bodies = BodyMemory(ROOM)
    for tenant_id in "abcd":
        bodies.reserve(tenant_id).resize(2 * MEGA)
    assert refusal(bodies, "e", MEGA) == (503, 2)
    bodies.reserve("e").resize(UNCOUNTED_BYTES)


def test_a_request_that_found_no_room_leaves_what_was_there() -> None:
    bodies = BodyMemory(ROOM)
    with pytest.raises(Problem):
        bodies.reserve("a").resize(3 * MEGA)
    bodies.reserve("a").resize(2 * MEGA)


@pytest.mark.parametrize("path", ["/v1/webhooks", "/v1/emails/batch"])
def test_a_body_for_which_there_is_no_room_is_refused_until_there_is(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    bodies = BodyMemory(ROOM)
    monkeypatch.setattr(rest_api.OpenAccess, "bodies", bodies)
    other = bodies.reserve(rest_api.ID)
    other.resize(2 * MEGA)
    body = b" " * MEGA
    answer = rest_api.ask("POST", path, content=body)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    other.close()
    assert rest_api.ask("POST", path, content=body).status_code == 400
    bodies.reserve(rest_api.ID).resize(2 * MEGA)  # nothing is left of it


def test_a_message_that_does_not_come_counts_as_the_largest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_server, "CHECK_S", 0.0)

    async def story() -> int:
        bodies = BodyMemory(256 * MEGA)
        context = cast(Context, SimpleNamespace(read=asyncio.Event().wait))
        bodies.reserve("a").resize(60 * MEGA)
        with pytest.raises(Problem) as refused:
            async with asyncio.timeout(10):
                await read_message(context, bodies.reserve("a"))
        return refused.value.status

    assert asyncio.run(story()) == 429


def test_a_message_that_is_there_counts_as_what_it_is() -> None:
    async def story() -> None:
        bodies = BodyMemory(ROOM)
        reservation = bodies.reserve("a")
        arrived = grpc_server.ReceivedMessage(cast(Any, "message"), 2 * MEGA)

        async def there() -> grpc_server.ReceivedMessage:
            return arrived

        assert (
            await read_message(cast(Context, SimpleNamespace(read=there)), reservation) == "message"
        )
        assert refusal(bodies, "a", MEGA) == (429, 1)

    asyncio.run(story())
