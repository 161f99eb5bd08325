"""Consumers of aiokafka while coordinators and leaders change."""

from collections.abc import Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError, for_code
from aiokafka.structs import OffsetAndMetadata

from kernel import clock

_fetch_offsets = GroupCoordinator._do_fetch_commit_offsets
_heartbeat = GroupCoordinator._do_heartbeat
_send = GroupCoordinator._send_req
_request_positions = Fetcher._proc_offset_request
_next_requests = Fetcher._get_actions_per_node


async def fetch_offsets(
    coordinator: Any,  # noqa: ANN401 - aiokafka has no types
    partitions: Sequence[TopicPartition],
) -> dict[TopicPartition, OffsetAndMetadata]:
    """As `GroupCoordinator`, which for an error that it does not know ends the task that fetches
    committed offsets. Its consumer then stays a member, keeps its partitions and reads none of
    them. One is COORDINATOR_NOT_AVAILABLE: the broker cannot write to the other replicas."""
    try:
        return dict(await _fetch_offsets(coordinator, partitions))
    except KafkaError as error:
        if not is_unknown(error):
            raise
        coordinator.coordinator_dead()
        raise GroupCoordinatorNotAvailableError(str(error)) from error


async def heartbeat(coordinator: Any) -> bool:  # noqa: ANN401
    """As `GroupCoordinator`, which for an error that it does not know sends no further heartbeat:
    the consumer would be expelled without learning of it."""
    try:
        return bool(await _heartbeat(coordinator))
    except KafkaError as error:
        if not is_unknown(error):
            raise
        coordinator.coordinator_dead()
        return False


async def send(coordinator: Any, request: Any) -> Any:  # noqa: ANN401
    """As `GroupCoordinator`, which takes the refusal of a request for offsets for an answer without
    offsets: it would read all records again."""
    response = await _send(coordinator, request)
    is_of_offsets = type(response).__name__.startswith("OffsetFetchResponse")
    if is_of_offsets and (code := getattr(response, "error_code", 0)):
        coordinator.coordinator_dead()
        raise GroupCoordinatorNotAvailableError(for_code(code).__name__)
    return response


async def request_positions(
    fetcher: Any,  # noqa: ANN401
    node_id: int,
    topics: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """As `Fetcher`, which repeats a request for first or last offsets at a broker that leads one of
    the partitions no more, and fetches nothing of that broker meanwhile. It would learn of the new
    leader only when all metadata are five minutes old."""
    try:
        return await _request_positions(fetcher, node_id, topics)
    except KafkaError:
        fetcher._client.force_metadata_update()
        raise


def next_requests(fetcher: Any, assignment: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """As `Fetcher`, which asks for the leader of a partition that has none, or whose topic is being
    created, again as soon as it has an answer: a thousand times in a second."""
    fetches, resets, timeout_s, is_leaderless, resumed = _next_requests(fetcher, assignment)
    if is_leaderless:
        now_s = clock.monotonic_s()
        wait_s = getattr(fetcher, "requested_at_s", 0.0) + fetcher._retry_backoff - now_s
        if wait_s > 0:
            is_leaderless, timeout_s = False, min(timeout_s, wait_s)
        else:
            fetcher.requested_at_s = now_s
    return fetches, resets, timeout_s, is_leaderless, resumed


def is_unknown(error: KafkaError) -> bool:
    """Whether aiokafka has no class for it at this place; those that it has say what to do."""
    return type(error) is KafkaError


def patch_consumers() -> None:
    """Let all consumers of the process fetch offsets, send heartbeats and look for leaders so."""
    Fetcher._get_actions_per_node = next_requests
    Fetcher._proc_offset_request = request_positions
    GroupCoordinator._do_fetch_commit_offsets = fetch_offsets
    GroupCoordinator._do_heartbeat = heartbeat
    GroupCoordinator._send_req = send
