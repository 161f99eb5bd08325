"""Who owns the cell when the broker is away for some replicas, or for all."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.backoff import Health
from kernel.database import Database, Params, Row, Transaction
from kernel.errors import Unavailable
from kernel.lease import Lease
from kernel.outbox import Outbox
from services.router.domain.arrival import arrival
from services.router.domain.dispatch import Desk
from services.router.domain.message import State
from services.router.domain.routes import Exchanger, Route
from services.router.domain.scopes import Scopes, Sender
from services.router.domain.shaping import Shape, Shaping
from services.router.domain.windows import HOUR, Caps, Room
from services.router.loops.owner import Owner, Rhythm
from services.router.store import arrivals
from services.router.store.partitions import Partitions
from tests.support.pair import FreshDatabase
from tests.support.router import envelope_of, play, until

ROUTE = Route("site", (Exchanger("127.0.0.1", 0, 25),))


COUNTERS = 12_000
COUNTED = """
INSERT INTO router.counters (cell, scope, window_key, value, expires_at)
SELECT 'default', 'tenant/' || n, 'per_hour/' || %s, 5, now() + interval '1 hour'
FROM generate_series(1, %s) AS n
"""


class Replica:
    """Lease, outbox and owner of a router, with a broker that can be away. told: message ids."""

    def __init__(self, database: FreshDatabase, *, lease_s: float = 0.3) -> None:
        self.engine = Database(database.engine("router"))
        self.away = False
        self.told: list[str] = []
        self.sender = Sender()
        self.scopes = self.desk().scopes
        self.lease = Lease(self.engine, "router", "default", lease_s=lease_s, untold_s=0.1)
        self.owner = Owner(
            self.lease,
            Outbox(self.engine, "router", self.send),
            new_desk=self.desk,
            rhythm=Rhythm(20, 100, 0.01, 0.05, 0, 60),
            on_names=lambda: None,
            health=Health(),
        )

    def desk(self) -> Desk:
        self.scopes = Scopes(lambda _: self.sender, Shaping(Shape(100), {}))
        return Desk(self.scopes, lambda _: ROUTE, ROUTE, "mail.test", 60)

    async def send(self, records: Sequence[Outgoing]) -> None:
        if self.away:
            raise Unavailable("kafka")
        self.told += [DeliveryAssigned.FromString(one.value).message_id for one in records]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(loop()) for loop in (self.lease.keep, self.owner.run)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.lease.release()
            await self.engine.close()

    async def leaves(self) -> None:
        await until(lambda: not self.owner.owns)

    async def arrive(self) -> str:
        """A message that may leave at once."""
        envelope = envelope_of("ann@site.test", tenant_id=str(uuid4()))
        async with self.engine.transaction() as tx:
            await Partitions().prepare(tx, [envelope.message_id])
            await arrivals.insert(tx, [arrival(envelope, State.WAITING, site_of=lambda _: "site")])
        return envelope.message_id


def test_an_owner_without_the_broker_leaves_the_cell_to_one_that_has_it(
    database: FreshDatabase,
) -> None:
    async def story() -> None:
        first, second = Replica(database), Replica(database)
        first.away = True
        async with first.running():
            await until(lambda: first.owner.owns)
            await first.arrive()
            async with second.running():
                await until(lambda: second.owner.owns)
                assert not first.owner.owns
                later = await second.arrive()
                await until(lambda: later in second.told)

    play(story())


def test_when_the_broker_comes_back_for_all_everything_is_told(database: FreshDatabase) -> None:
    async def story() -> None:
        first, second = Replica(database), Replica(database)
        first.away = second.away = True
        async with first.running(), second.running():
            messages = set()
            for _ in range(2):  # one for each that becomes the owner
                await until(lambda: first.owner.owns or second.owner.owns)
                messages.add(await first.arrive())
                stuck = first if first.owner.owns else second
                await stuck.leaves()
            assert not first.owner.owns
            assert not second.owner.owns
            first.away = second.away = False
            await until(lambda: messages <= {*first.told, *second.told})
            await until(lambda: first.owner.owns or second.owner.owns)

    play(story())


def test_a_new_owner_reads_what_was_counted_in_pages(
    database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, read = clock.now().timestamp(), [0]
    with database.connect() as connection:
        connection.execute(COUNTED, (HOUR.bucket(now_s), COUNTERS))
    rows = Transaction.rows

    async def noted(tx: Transaction, sql: str, params: Params = None) -> list[Row]:
        found = await rows(tx, sql, params)
        read.append(len(found))
        return found

    monkeypatch.setattr(Transaction, "rows", noted)

    async def story() -> None:
        replica = Replica(database)
        async with replica.running():
            message = await replica.arrive()
            await until(lambda: message in replica.told)
        usage, caps = replica.scopes.usage, Caps(per_hour=7)
        rooms = (usage.room(f"tenant/{n + 1}", caps, now_s=now_s) for n in range(COUNTERS))
        assert {room.free for room in rooms} == {2}

    play(story())
    assert max(read) <= 5_000


@pytest.mark.parametrize("busy", [False, True], ids=["alone", "while rings are woken all the time"])
def test_mail_of_a_tenant_that_moves_to_another_pool_leaves_by_it(
    database: FreshDatabase, monkeypatch: pytest.MonkeyPatch, *, busy: bool
) -> None:
    async def woken(_: Owner) -> bool:
        return True

    if busy:
        monkeypatch.setattr(Owner, "_wake_rings", woken)

    def parked() -> bool:
        with database.connect() as connection:
            return connection.execute("SELECT 1 FROM router.lanes WHERE ring <> ''").rowcount > 0

    async def story() -> None:
        replica = Replica(database)
        replica.sender = Sender(pool_id=str(uuid4()))  # without an address
        async with replica.running():
            message = await replica.arrive()
            await until(parked)
            replica.sender = Sender()
            await until(lambda: message in replica.told)

    play(story())


def test_a_ring_is_looked_at_once_a_tick(
    database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, room = Counter[str](), Scopes.room

    def noted(scopes: Scopes, ring: str, *, now_s: float) -> Room:
        looks[ring] += 1
        return room(scopes, ring, now_s=now_s)

    async def story() -> None:
        replica = Replica(database, lease_s=30)
        replica.sender = Sender(pool_id=str(uuid4()))  # without an address
        await replica.lease.try_take()
        await replica.arrive()
        await replica.owner.tick()  # parks the lane
        monkeypatch.setattr(Scopes, "room", noted)
        await replica.owner.tick()
        await replica.engine.close()

    play(story())
    assert set(looks.values()) == {1}
