"""A consumer goes on after its group's coordinator was not available."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    NotLeaderForPartitionError,
)
from aiokafka.protocol.commit import OffsetFetchResponse_v1, OffsetFetchResponse_v3
from aiokafka.protocol.group import HeartbeatResponse_v1
from aiokafka.protocol.offset import OffsetResponse_v1

from kernel.kafka import coordination

NOT_AVAILABLE, TIMED_OUT, NOT_AUTHORIZED, NOT_LEADER = 15, 7, 30, 6
PARTITION = TopicPartition("mail", 0)


def coordinator_of(response: object) -> Any:  # noqa: ANN401
    """A coordinator that gets this response. lost: how often it is looked for again."""
    made = SimpleNamespace(group_id="g", generation=1, member_id="m", coordinator_id=1, lost=0)

    def coordinator_dead() -> None:
        made.lost += 1

    async def send_req(_: object) -> object:
        return response

    made._send_req, made.coordinator_dead = send_req, coordinator_dead
    return made


def offsets(error: int) -> OffsetFetchResponse_v1:
    return OffsetFetchResponse_v1([("mail", [(0, -1, "", error)])])


@pytest.mark.parametrize("error", [NOT_AVAILABLE, TIMED_OUT])
async def test_offsets_are_fetched_again_after_an_error_that_passes(error: int) -> None:
    coordinator = coordinator_of(offsets(error))
    with pytest.raises(GroupCoordinatorNotAvailableError) as raised:
        await coordination.fetch_offsets(coordinator, [PARTITION])
    assert raised.value.retriable
    assert coordinator.lost == 1


async def test_a_consumer_without_permission_fails() -> None:
    with pytest.raises(GroupAuthorizationFailedError):
        await coordination.fetch_offsets(coordinator_of(offsets(NOT_AUTHORIZED)), [PARTITION])


async def test_a_leader_that_leads_no_more_is_looked_for_again() -> None:
    steps: list[str] = []

    async def send(_: int, __: object) -> OffsetResponse_v1:
        steps.append("request")
        return OffsetResponse_v1([("mail", [(0, NOT_LEADER, -1, -1)])])

    client = SimpleNamespace(send=send, force_metadata_update=lambda: steps.append("metadata"))
    fetcher = SimpleNamespace(_client=client, _isolation_level=0)
    with pytest.raises(NotLeaderForPartitionError):
        await coordination.request_positions(fetcher, 1, {"mail": [(0, -2)]})
    assert steps == ["request", "metadata"]


async def test_a_heartbeat_follows_one_that_failed() -> None:
    coordinator = coordinator_of(HeartbeatResponse_v1(0, TIMED_OUT))
    assert not await coordination.heartbeat(coordinator)
    assert coordinator.lost == 1
    assert await coordination.heartbeat(coordinator_of(HeartbeatResponse_v1(0, 0)))


async def test_a_refusal_is_no_group_without_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    responses = [
        OffsetFetchResponse_v3(0, [], NOT_AVAILABLE),
        OffsetFetchResponse_v3(0, [("mail", [(0, 7, "", 0)])], 0),
    ]

    async def sent(_: object, __: object) -> object:
        return responses.pop(0)

    monkeypatch.setattr(coordination, "_send", sent)
    coordinator = coordinator_of(None)
    with pytest.raises(GroupCoordinatorNotAvailableError):
        await coordination.send(coordinator, object())
    assert coordinator.lost == 1
    assert (await coordination.send(coordinator, object())).topics[0][0] == "mail"
