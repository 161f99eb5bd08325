"""How much may leave: rates as GCRA, caps as counted windows, and what is in flight.

Mutable on purpose: the owner keeps them in memory, saves what changed in the transaction that
assigns, and reads all of them again when a transaction failed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, floor, inf
from typing import NamedTuple

TICKS_PER_S = 12  # the owner decides about so often: a burst of one would send no faster
MICRO = 1_000_000


class Room(NamedTuple):
    """How many may leave now; when there is none, from when on one may. binding: what says so."""

    free: int
    release_s: float = 0.0
    binding: str = ""


UNLIMITED = Room(1_000_000_000)


def tightest(*rooms: Room) -> Room:
    """The smallest; of those without room, the one with the latest release."""
    shut = [room for room in rooms if room.free <= 0]
    if shut:
        return max(shut, key=lambda room: room.release_s)
    return min(rooms, key=lambda room: room.free)


@dataclass(slots=True)
class Rate:
    """So many per second at most, in every second however it is cut: GCRA (ITU-T I.371).

    A bucket with burst b and interval T lets b + (1 s / T) - 1 through in the worst second. So
    the burst is taken out of the rate: T = 1 / (max - b + 1). In whole microseconds, as it is
    saved.
    """

    tat_us: int = 0  # theoretical arrival time

    def room(self, per_second: int, *, now_s: float) -> Room:
        burst, interval_us = shape(per_second)
        ahead_us = max(self.tat_us - round(now_s * MICRO), 0)
        free = (burst * interval_us - ahead_us) // interval_us
        if free >= 1:
            return Room(free, binding="per_second")
        return Room(0, (self.tat_us - (burst - 1) * interval_us) / MICRO, "per_second")

    def take(self, number: int, per_second: int, *, now_s: float) -> None:
        if number:
            _, interval_us = shape(per_second)
            self.tat_us = max(self.tat_us, round(now_s * MICRO)) + number * interval_us

    def give_back(self, number: int, per_second: int, *, taken_s: float) -> None:
        """Only what the burst of now still counts: a moment that has passed is of no use, and would
        let twice as many through in this one."""
        burst, interval_us = shape(per_second)
        taken_us = round(taken_s * MICRO)
        if taken_us >= self.tat_us - burst * interval_us:
            self.tat_us = max(self.tat_us - number * interval_us, taken_us)


def shape(per_second: int) -> tuple[int, int]:
    """(burst, interval in microseconds) of a rate."""
    burst = max(1, ceil(per_second / TICKS_PER_S))
    return burst, ceil(MICRO / (per_second - burst + 1))


@dataclass(frozen=True, slots=True)
class Span:
    """A rolling window in buckets; the oldest counts whole, so that no window has more."""

    name: str
    width_s: int
    bucket_s: int

    def bucket(self, at_s: float) -> int:
        return floor(at_s / self.bucket_s)

    def oldest(self, now_s: float) -> int:
        return floor((now_s - self.width_s) / self.bucket_s)

    def leaves_s(self, bucket: int) -> float:
        """When a bucket no longer counts."""
        return (bucket + 1) * self.bucket_s + float(self.width_s)


SCOPES_MIN = 10_000
HOUR = Span("per_hour", 3600, 300)
DAY = Span("per_day", 86400, 3600)
SPANS = {span.name: span for span in (HOUR, DAY)}


@dataclass(slots=True)
class Count:
    """What left in the last span."""

    span: Span
    buckets: dict[int, int] = field(default_factory=dict)

    def forget(self, now_s: float) -> bool:
        """What no longer counts; whether nothing is left."""
        oldest = self.span.oldest(now_s)
        for bucket in [bucket for bucket in self.buckets if bucket < oldest]:
            del self.buckets[bucket]
        return not self.buckets

    def room(self, cap: int, *, now_s: float) -> Room:
        self.forget(now_s)
        used = sum(self.buckets.values())
        if used < cap:
            return Room(cap - used, binding=self.span.name)
        return Room(0, self._release_s(cap, used), self.span.name)

    def _release_s(self, cap: int, used: int) -> float:
        for bucket in sorted(self.buckets):
            used -= self.buckets[bucket]
            if used < cap:
                return self.span.leaves_s(bucket)
        return inf  # a cap of nothing at all

    def take(self, count: int, *, now_s: float) -> int:
        """The bucket that counts them."""
        bucket = self.span.bucket(now_s)
        if bucket not in self.buckets:
            self.forget(now_s)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        return bucket

    def give_back(self, count: int, *, taken_s: float) -> int | None:
        """The bucket they were taken from; None when it no longer counts."""
        bucket = self.span.bucket(taken_s)
        if bucket not in self.buckets:
            return None
        self.buckets[bucket] = max(0, self.buckets[bucket] - count)
        return bucket


@dataclass(frozen=True, slots=True)
class Caps:
    """Of a tenant; 0: no cap."""

    per_second: int = 0
    per_hour: int = 0
    per_day: int = 0


NO_CAPS = Caps()


class Saved(NamedTuple):
    """A counter as it is stored: absolute, because only the owner writes it."""

    scope: str
    window: str
    value: int
    expires_s: float


class Usage:
    """What each scope used up. Scopes are tenants, and egresses at sites that have a rate."""

    def __init__(self) -> None:
        self._rates: dict[str, Rate] = {}
        self._counts: dict[tuple[str, str], Count] = {}
        self._changed: dict[tuple[str, str], Saved] = {}
        self._most = SCOPES_MIN  # counts, before those are forgotten that no longer count

    def load(self, saved: Saved) -> None:
        if saved.window == "rate":
            self._rates[saved.scope] = Rate(saved.value)
            return
        name, _, bucket = saved.window.partition("/")
        self._count(saved.scope, SPANS[name]).buckets[int(bucket)] = saved.value

    def room(self, scope: str, caps: Caps, *, now_s: float) -> Room:
        """Smallest first; all of them are asked."""
        rooms = [UNLIMITED]
        if caps.per_second:
            rate = self._rates.setdefault(scope, Rate())
            rooms.append(rate.room(caps.per_second, now_s=now_s))
        if caps.per_hour:
            rooms.append(self._count(scope, HOUR).room(caps.per_hour, now_s=now_s))
        if caps.per_day:
            rooms.append(self._count(scope, DAY).room(caps.per_day, now_s=now_s))
        return tightest(*rooms)

    def take(self, scope: str, count: int, *, caps: Caps, now_s: float) -> None:
        """All are taken. The caps are counted where there are none yet too: one may be set."""
        if len(self._counts) > self._most:
            self._forget(now_s)
        if caps.per_second:
            rate = self._rates.setdefault(scope, Rate())
            rate.take(count, caps.per_second, now_s=now_s)
            self._note_rate(scope, rate)
        for span in SPANS.values():
            counted = self._count(scope, span)
            self._note(scope, counted, counted.take(count, now_s=now_s))

    def give_back(self, scope: str, count: int, *, caps: Caps, taken_s: float) -> None:
        """Nothing was connected: as if they had not been taken."""
        if caps.per_second and (rate := self._rates.get(scope)):
            rate.give_back(count, caps.per_second, taken_s=taken_s)
            self._note_rate(scope, rate)
        for span in SPANS.values():
            counted = self._count(scope, span)
            bucket = counted.give_back(count, taken_s=taken_s)
            if bucket is not None:
                self._note(scope, counted, bucket)

    def changes(self) -> list[Saved]:
        """What has to be saved; once."""
        changed, self._changed = list(self._changed.values()), {}
        return changed

    def _forget(self, now_s: float) -> None:
        """Scopes that used nothing for so long, whenever their number has doubled."""
        counts, rates = self._counts.items(), self._rates.items()
        self._counts = {key: counted for key, counted in counts if not counted.forget(now_s)}
        self._rates = {scope: rate for scope, rate in rates if rate.tat_us > now_s * MICRO}
        self._most = max(SCOPES_MIN, 2 * len(self._counts))

    def _count(self, scope: str, span: Span) -> Count:
        counted = self._counts.get((scope, span.name))
        if counted is None:
            counted = self._counts[scope, span.name] = Count(span)
        return counted

    def _note(self, scope: str, counted: Count, bucket: int) -> None:
        window = f"{counted.span.name}/{bucket}"
        expires_s = counted.span.leaves_s(bucket)
        self._changed[scope, window] = Saved(scope, window, counted.buckets[bucket], expires_s)

    def _note_rate(self, scope: str, rate: Rate) -> None:
        saved = Saved(scope, "rate", rate.tat_us, rate.tat_us / MICRO + 60)
        self._changed[scope, "rate"] = saved


class InFlight:
    """Assignments without an answer, per egress and site. Released by answers only."""

    def __init__(self) -> None:
        self._count: dict[tuple[str, str], int] = {}

    def load(self, egress_id: str, site: str, count: int) -> None:
        self._count[egress_id, site] = count

    def count(self, egress_id: str, site: str) -> int:
        return self._count.get((egress_id, site), 0)

    def take(self, egress_id: str, site: str, count: int = 1) -> None:
        self._count[egress_id, site] = self.count(egress_id, site) + count

    def release(self, egress_id: str, site: str, count: int) -> None:
        left = self.count(egress_id, site) - count
        if left > 0:
            self._count[egress_id, site] = left
        else:
            self._count.pop((egress_id, site), None)

    def __iter__(self) -> Iterator[tuple[tuple[str, str], int]]:
        return iter(self._count.items())
