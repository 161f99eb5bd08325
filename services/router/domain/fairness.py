"""Who is served: lanes in turns by deficit, so that one's million cannot delay another's one.

Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (SIGCOMM 1995), twice:
tenants take turns, and within a tenant its lanes. A message costs one.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.router.domain.message import Lane
from services.router.domain.windows import Room, tightest

EXPRESS_QUANTUM = 10
BULK_QUANTUM = 1  # a tenth


class OpenLane(NamedTuple):
    key: str
    version: int
    lane: Lane

    @classmethod
    def of(cls, key: str, version: int) -> "OpenLane":
        return cls(key, version, Lane.of(key))


class Parked(NamedTuple):
    """A lane that a shared scope refused: it waits in that scope's ring."""

    key: str
    ring: str
    room: Room


@dataclass(slots=True)
class Shares:
    """How many rows of each lane may be claimed, and the lanes that no row may leave."""

    quotas: dict[str, int] = field(default_factory=dict)
    parked: list[Parked] = field(default_factory=list)


def share(
    lanes: Sequence[OpenLane],
    *,
    rings_of: Callable[[Lane], Sequence[str]],
    room_of: Callable[[str], Room],
    batch_max: int,
) -> Shares:
    """Quotas that fit all scopes together. Lanes come in the order in which they wait."""
    shares = Shares()
    rooms: dict[str, Room] = {}
    turns: dict[str, deque[tuple[OpenLane, Sequence[str]]]] = {}
    for lane in lanes:
        rings = rings_of(lane.lane)
        for ring in rings:
            if ring not in rooms:
                rooms[ring] = room_of(ring)
        if shut := refusing(rings, rooms):
            shares.parked.append(Parked(lane.key, *shut))
        else:
            turns.setdefault(lane.lane.tenant_id, deque()).append((lane, rings))
    left = {ring: room.free for ring, room in rooms.items()}
    deal(deque(turns.values()), left, shares.quotas, batch_max=batch_max)
    return shares


def refusing(rings: Iterable[str], rooms: dict[str, Room]) -> tuple[str, Room] | None:
    """The scope without room, that with the latest release where there are several."""
    shut = {ring: rooms[ring] for ring in rings if rooms[ring].free <= 0}
    if not shut:
        return None
    binding = tightest(*shut.values())
    return next((ring, room) for ring, room in shut.items() if room == binding)


def deal(
    tenants: "deque[deque[tuple[OpenLane, Sequence[str]]]]",
    left: dict[str, int],
    quotas: dict[str, int],
    *,
    batch_max: int,
) -> None:
    """Turn by turn, until nothing is left to give or nobody can take."""
    while tenants and batch_max > 0:
        lanes = tenants.popleft()
        lane, rings = lanes.popleft()
        quantum = BULK_QUANTUM if lane.lane.bulk else EXPRESS_QUANTUM
        granted = min(quantum, batch_max)
        for ring in rings:
            granted = min(granted, left[ring])
        if granted > 0:
            quotas[lane.key] = quotas.get(lane.key, 0) + granted
            batch_max -= granted
            for ring in rings:
                left[ring] -= granted
            lanes.append((lane, rings))
        if lanes:
            tenants.append(lanes)
