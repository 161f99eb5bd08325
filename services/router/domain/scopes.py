"""The shared scopes that a message must pass: its tenant, and its pool's addresses at a site."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from services.router.domain.message import SANDBOX, Lane
from services.router.domain.shaping import Shape, Shaping
from services.router.domain.windows import (
    NO_CAPS,
    Caps,
    InFlight,
    Room,
    Usage,
    tightest,
)

UNKNOWN_S = 0.2  # a message can be faster than the record of its tenant
DEFAULT_POOL = "00000000-0000-7000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class Egress:
    """A way out: its IPv4 and its IPv6 address. Without either the machine chooses."""

    egress_id: str
    pool_id: str
    source_ip: str
    ehlo: str
    source_ipv6: str = ""
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Sender:
    """What routing needs to know of a tenant."""

    caps: Caps = NO_CAPS
    pool_id: str = DEFAULT_POOL


class Scopes:
    """Rooms of tenants and of egresses at sites, and the choice of an egress.

    sender_of: a tenant by id, None while its record is on its way.
    Mutable like what it holds: usage and in_flight.
    """

    def __init__(self, sender_of: Callable[[str], Sender | None], shaping: Shaping) -> None:
        self.usage = Usage()
        self.in_flight = InFlight()
        self._find_sender = sender_of
        self._shaping = shaping
        self._pools: dict[str, list[Egress]] = {}
        self.names: frozenset[str] = frozenset()  # by which egresses say EHLO

    def shape_of(self, site: str) -> Shape:
        return self._shaping.of(site)

    def _sender_of(self, tenant_id: str) -> Sender:
        return self._find_sender(tenant_id) or Sender()

    def set_egresses(self, egresses: Iterable[Egress]) -> None:
        """All there are. Paused ones are not used, and their names are ours all the same."""
        self._pools = {}
        egresses = list(egresses)
        self.names = frozenset(egress.ehlo for egress in egresses)
        for egress in egresses:
            if not egress.paused:
                self._pools.setdefault(egress.pool_id, []).append(egress)

    def rings_of(self, lane: Lane) -> tuple[str, ...]:
        """The shared scopes of a lane, smallest first: those that may refuse it."""
        if lane.site == SANDBOX:
            return ()
        pool_id = self._sender_of(lane.tenant_id).pool_id
        return (f"tenant/{lane.tenant_id}", f"pool/{pool_id}/{lane.site}")

    def room(self, ring: str, *, now_s: float) -> Room:
        kind, _, name = ring.partition("/")
        if kind == "tenant":
            if (sender := self._find_sender(name)) is None:
                return Room(0, now_s + UNKNOWN_S, "tenant_unknown")
            return self.usage.room(ring, sender.caps, now_s=now_s)
        pool_id, _, site = name.partition("/")
        return self._pool_room(pool_id, site, now_s=now_s)

    def _pool_room(self, pool_id: str, site: str, *, now_s: float) -> Room:
        rooms = [self._egress_room(e, site, now_s=now_s) for e in self._pools.get(pool_id, [])]
        if not rooms:
            return Room(0, inf, "no_egress")
        if free := sum(room.free for room in rooms):
            return Room(free, binding=rooms[0].binding)
        return min(rooms, key=lambda room: room.release_s)

    def _egress_room(self, egress: Egress, site: str, *, now_s: float) -> Room:
        shape = self._shaping.of(site)
        free = shape.in_flight_max - self.in_flight.count(egress.egress_id, site)
        window = Room(max(free, 0), inf, "site_in_flight")
        if not shape.per_second_max:
            return window
        caps = Caps(per_second=shape.per_second_max)
        rate = self.usage.room(f"egress/{egress.egress_id}/{site}", caps, now_s=now_s)
        return tightest(rate._replace(binding="site_rate"), window)

    def ways_out(self, lane: Lane, *, now_s: float) -> list[tuple[Egress, int]]:
        """The addresses of the lane's pool, with what each has room for at its site."""
        egresses = self._pools.get(self._sender_of(lane.tenant_id).pool_id, [])
        return [(e, self._egress_room(e, lane.site, now_s=now_s).free) for e in egresses]

    def take_tenant(self, tenant_id: str, *, number: int, now_s: float) -> None:
        """So many messages of a tenant leave."""
        caps = self._sender_of(tenant_id).caps
        self.usage.take(f"tenant/{tenant_id}", number, caps=caps, now_s=now_s)

    def take_egress(self, egress_id: str, site: str, *, number: int, now_s: float) -> None:
        """So many leave by this address for this site."""
        if per_second := self._shaping.of(site).per_second_max:
            caps = Caps(per_second=per_second)
            self.usage.take(f"egress/{egress_id}/{site}", number, caps=caps, now_s=now_s)
        self.in_flight.take(egress_id, site, number)

    def give_back(self, lane: Lane, egress_id: str, *, count: int, taken_s: float) -> None:
        """Nothing was connected."""
        scope = f"tenant/{lane.tenant_id}"
        caps = self._sender_of(lane.tenant_id).caps
        self.usage.give_back(scope, count, caps=caps, taken_s=taken_s)
        if per_second := self._shaping.of(lane.site).per_second_max:
            scope, caps = f"egress/{egress_id}/{lane.site}", Caps(per_second=per_second)
            self.usage.give_back(scope, count, caps=caps, taken_s=taken_s)

    def untake(self, lane: Lane, egress_id: str, *, now_s: float) -> None:
        """It was decided a moment ago, and did not come to pass."""
        if lane.site != SANDBOX:
            self.give_back(lane, egress_id, count=1, taken_s=now_s)
            self.in_flight.release(egress_id, lane.site, 1)
