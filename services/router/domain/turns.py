"""What becomes of open lanes after a tick: they stay open, close, open later, or wait in a ring."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from services.router.domain.fairness import OpenLane, Parked

# To close a lane and to open it again costs as much as four looks, and there are 12 looks a second.
LINGER_S = 0.3
BUSY_MAX = 10_000


class Left(NamedTuple):
    """What a lane keeps: when its next row is due. worked: something left it."""

    worked: bool
    due_s: float | None


class Busy:
    """Lanes that are given work again and again. They stay open for a moment when they are empty,
    because their next message is about to come."""

    def __init__(self) -> None:
        self._worked_s: dict[str, float] = {}

    def stays(self, lane: str, *, worked: bool, now_s: float) -> bool:
        """Of a lane that is empty now. worked: a moment ago it was not."""
        busy = now_s - self._worked_s.get(lane, 0.0) <= LINGER_S
        if worked:
            self._worked_s[lane] = now_s
        elif not busy:
            self._worked_s.pop(lane, None)
        if len(self._worked_s) > BUSY_MAX:
            self._worked_s.clear()
        return busy


@dataclass(slots=True)
class Turn:
    """served: lanes with the moment of their next work (None: empty), as it has to be saved.
    opens_s: when the first of the lanes that were looked at wants to be looked at again."""

    served: list[tuple[OpenLane, float | None]] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    opens_s: float = inf


def end_turn(
    opened: Sequence[OpenLane],
    left: Mapping[str, Left],
    *,
    parked: Sequence[Parked],
    shut_by: Callable[[OpenLane], Parked | None],
    busy: Busy,
    now_s: float,
) -> Turn:
    """left: of the lanes that had a turn. parked: those that were refused before.

    Who had no turn stays as it is, and is first the next time, because all others go behind it.
    Where everybody had one, a lane that stays open needs no new place in the line.
    """
    everybody = len(left) + len(parked) == len(opened)
    turn = Turn(parked=[*parked], opens_s=inf if everybody else now_s)
    for lane in (lane for lane in opened if lane.key in left):
        worked, due_s = left[lane.key]
        if due_s is None:
            next_s = None
            stays = busy.stays(lane.key, worked=worked, now_s=now_s)
            turn.opens_s = min(turn.opens_s, now_s + LINGER_S if stays else inf)
        elif due_s > now_s:
            next_s, stays = due_s, False
            turn.opens_s = min(turn.opens_s, due_s)
        elif shut := shut_by(lane):
            turn.parked.append(shut)
            continue
        else:
            next_s, stays = now_s, True
            turn.opens_s = now_s
        if not (stays and everybody):
            turn.served.append((lane, next_s))
    return turn
