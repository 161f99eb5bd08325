"""One caller's large requests leave room for those of others, and for small ones always."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.ingest.api import grpc_server
from services.ingest.api.grpc_server import Context, read
from services.ingest.domain.bodies import UNCOUNTED_BYTES, Bodies
from services.ingest.domain.problem import Problem
from tests.support import rest_door

MEGA = 1024 * 1024
ROOM = 8 * MEGA  # 2 of each tenant


def refusal(bodies: Bodies, tenant_id: str, octets: int) -> tuple[int, int | None]:
    with pytest.raises(Problem) as refused:
        bodies.of(tenant_id).be(octets)
    return refused.value.status, refused.value.retry_after_s


def test_a_tenant_may_have_a_quarter_of_the_room() -> None:
    bodies = Bodies(ROOM)
    first = bodies.of("a")
    first.be(MEGA)
    first.be(2 * MEGA)
    assert refusal(bodies, "a", MEGA) == (429, 1)
    bodies.of("a").be(UNCOUNTED_BYTES)
    bodies.of("b").be(2 * MEGA)
    first.close()
    bodies.of("a").be(2 * MEGA)


def test_what_all_have_together_is_bounded() -> None:
    bodies = Bodies(ROOM)
    for tenant_id in "abcd":
        bodies.of(tenant_id).be(2 * MEGA)
    assert refusal(bodies, "e", MEGA) == (503, 2)
    bodies.of("e").be(UNCOUNTED_BYTES)


def test_a_request_that_found_no_room_leaves_what_was_there() -> None:
    bodies = Bodies(ROOM)
    with pytest.raises(Problem):
        bodies.of("a").be(3 * MEGA)
    bodies.of("a").be(2 * MEGA)


@pytest.mark.parametrize("path", ["/v1/webhooks", "/v1/emails/batch"])
def test_a_body_for_which_there_is_no_room_is_refused_until_there_is(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    bodies = Bodies(ROOM)
    monkeypatch.setattr(rest_door.Open, "bodies", bodies)
    other = bodies.of(rest_door.ID)
    other.be(2 * MEGA)
    body = b" " * MEGA
    answer = rest_door.ask("POST", path, content=body)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    other.close()
    assert rest_door.ask("POST", path, content=body).status_code == 400
    bodies.of(rest_door.ID).be(2 * MEGA)  # nothing is left of it


def test_a_message_that_does_not_come_counts_as_the_largest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_server, "LOOK_S", 0.0)

    async def story() -> int:
        bodies = Bodies(256 * MEGA)
        context = cast(Context, SimpleNamespace(read=asyncio.Event().wait))
        bodies.of("a").be(60 * MEGA)
        with pytest.raises(Problem) as refused:
            async with asyncio.timeout(10):
                await read(context, bodies.of("a"))
        return refused.value.status

    assert asyncio.run(story()) == 429


def test_a_message_that_is_there_counts_as_what_it_is() -> None:
    async def story() -> None:
        bodies = Bodies(ROOM)
        held = bodies.of("a")
        arrived = grpc_server.Arrived(cast(Any, "message"), 2 * MEGA)

        async def there() -> grpc_server.Arrived:
            return arrived

        assert await read(cast(Context, SimpleNamespace(read=there)), held) == "message"
        assert refusal(bodies, "a", MEGA) == (429, 1)

    asyncio.run(story())
