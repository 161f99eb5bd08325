"""One sender in one seed's world, day by day."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

from numpy.random import Generator, default_rng

from bench.simulation.outbox import Age, Outbox, Taken, take_from
from bench.simulation.parameters import (
    HOUR_S,
    STEP_S,
    STEPS_PER_DAY,
    STEPS_PER_HOUR,
    World,
)
from bench.simulation.receiver import REPUTATION, Block, Offer, Receiver, Reply
from bench.simulation.senders.model import Cell, Sender
from bench.simulation.traffic import TENANTS, Listing, Traffic, plan_listing, plan_storms

BORN_S = 12 * HOUR_S  # deferred messages of the same age are counted together

MakeSender = Callable[[World, int], Sender]


@dataclass(frozen=True)
class Setting:
    """volume: messages per day. ips: sources, all of them new."""

    days: int = 100
    volume: int = 250_000
    ips: int = 1


@dataclass
class History:
    """What happened. delivered: by day, source and site."""

    setting: Setting
    shares: list[float]
    demand: list[float]
    delivered: list[list[list[int]]] = field(default_factory=list)
    attempted: int = 0
    refused: int = 0
    overflowed: int = 0
    expired: int = 0
    blocks: dict[Cell, list[Block]] = field(default_factory=dict)
    violations: int = 0

    def begin_day(self, ips: int, sites: int) -> None:
        self.delivered.append([[0] * sites for _ in range(ips)])

    def delivered_on(self, day: int) -> int:
        return sum(map(sum, self.delivered[day]))


class Run:
    def __init__(
        self, make_sender: MakeSender, world: World, setting: Setting, *, seed: int
    ) -> None:
        self.world, self.setting = world, setting
        self._random: Generator = default_rng([seed, 0])
        self._traffic = Traffic(world, setting.volume, setting.days, default_rng([seed, 1]))
        self._listing: Listing | None = plan_listing(world, setting.days, default_rng([seed, 2]))
        self.receivers = [self._make_receiver(number, seed) for number in range(len(world.sites))]
        self._outbox = Outbox(len(world.sites))
        self.sender = make_sender(world, setting.ips)
        shares = [site.share for site in world.sites]
        self.history = History(setting, shares, self._traffic.demand)
        self._unheard: dict[tuple[Cell, int], int] = {}

    def _make_receiver(self, number: int, seed: int) -> Receiver:
        random = default_rng([seed, 3, number])
        receiver = Receiver(
            self.world.sites[number],
            self.world,
            ips=self.setting.ips,
            tenants=TENANTS,
            random=random,
        )
        plan_storms(receiver, self.world, days=self.setting.days, random=random)
        return receiver

    def simulate(self) -> History:
        for step in range(self.setting.days * STEPS_PER_DAY):
            self._begin(step)
            self._send(step)
            self.sender.end_step()
        history = self.history
        history.expired = self._outbox.expired
        history.violations = self.sender.count_violations(self.setting.days * STEPS_PER_DAY)
        for number, receiver in enumerate(self.receivers):
            for ip, seen in enumerate(receiver.seen):
                history.blocks[Cell(ip, number)] = seen.blocks
        return history

    def _begin(self, step: int) -> None:
        now_s = step * STEP_S
        if step % STEPS_PER_HOUR == 0:
            self._end_hour(step)
        if step % STEPS_PER_DAY == 0:
            self._begin_day()
        if step % STEPS_PER_HOUR == 0:
            for receiver in self.receivers:
                receiver.begin_hour(now_s)
        if self._listing and self._listing.begins_s <= now_s:
            receiver = self.receivers[self._listing.site]
            seen = receiver.seen[self._listing.ip]
            receiver.list_source(seen, now_s, self._listing.ends_s, own_doing=False)
            self._listing = None
        for site, arrived in enumerate(self._traffic.arrivals(step)):
            for tenant, count in enumerate(arrived):
                self._outbox.fresh[site][tenant] += count
        self._outbox.begin_step(step, lifetime_s=self.sender.lifetime_s)
        self.sender.begin_step(step)

    def _begin_day(self) -> None:
        self.history.begin_day(self.setting.ips, len(self.receivers))
        for receiver in self.receivers:
            receiver.begin_day()
        if self.sender.overflows:
            self.history.overflowed += self._outbox.drop_fresh()

    def _end_hour(self, step: int) -> None:
        """Recipients complain about what was delivered."""
        day = max(step - 1, 0) // STEPS_PER_DAY
        for (cell, tenant), delivered in self._unheard.items():
            rate = self._traffic.quality(tenant, day).complaints
            count = int(self._random.poisson(delivered * rate))
            if count:
                receiver = self.receivers[cell.site]
                receiver.complain(cell.ip, tenant, count)
                if receiver.site.reports:
                    self.sender.hear_complaints(cell, tenant, count)
        self._unheard.clear()

    def _send(self, step: int) -> None:
        tenants = [tenant for tenant in range(TENANTS) if self.sender.may_send(tenant)]
        waiting = [
            [self._outbox.waiting(site, tenant) for tenant in tenants]
            for site in range(len(self.receivers))
        ]
        total = sum(map(sum, waiting))
        ips = self.setting.ips
        for turn in range(ips if total else 0):
            ip = (step + turn) % ips
            room = self.sender.source_room(ip)
            share = min(room / total, 1.0)  # sites share a source's room by what waits for them
            for site, counts in enumerate(waiting):
                if room <= 0 or not (left := sum(counts)):
                    continue
                cell = Cell(ip, site)
                most = min(ceil(left / (ips - turn)), ceil(sum(counts) * share), room)
                number = min(most, self.sender.room(cell))
                room -= self._send_cell(cell, tenants, counts, number=number, step=step)

    def _send_cell(
        self, cell: Cell, tenants: list[int], counts: list[int], *, number: int, step: int
    ) -> int:
        """Returns the attempts. counts: what waits, which this lowers."""
        attempted, total = 0, sum(counts)
        for index, tenant in enumerate(tenants):
            part = min(ceil(number * counts[index] / total), counts[index], number - attempted)
            if part > 0:
                taken = self._outbox.take(cell.site, tenant, part)
                sent = self._offer(cell, tenant, taken, step=step)
                counts[index] -= part
                attempted += sent
        return attempted

    def _offer(self, cell: Cell, tenant: int, taken: Taken, *, step: int) -> int:
        invalid = self._traffic.quality(tenant, step // STEPS_PER_DAY).invalid
        offer = Offer(tenant, taken.fresh, taken.again_count, invalid, self.sender.notices_after)
        reply = self.receivers[cell.site].offer(cell.ip, offer, step * STEP_S)
        self.sender.observe(cell, tenant, reply)
        self._count(cell, tenant, reply)
        self._settle(cell.site, tenant, taken, reply=reply, step=step)
        return reply.attempted

    def _count(self, cell: Cell, tenant: int, reply: Reply) -> None:
        history = self.history
        history.attempted += reply.attempted
        history.refused += sum(r.messages for r in reply.refusals if r.kind in REPUTATION)
        if reply.delivered:
            history.delivered[-1][cell.ip][cell.site] += reply.delivered
            key = (cell, tenant)
            self._unheard[key] = self._unheard.get(key, 0) + reply.delivered

    def _settle(self, site: int, tenant: int, taken: Taken, *, reply: Reply, step: int) -> None:
        """Messages that were not attempted wait; those that were deferred come again later."""
        kept = taken.fresh + taken.again_count - reply.attempted
        deferred = sum(r.messages for r in reply.refusals if r.text.startswith("4"))
        if not kept and not deferred:
            return
        pile = {**taken.again, Age(0, step * STEP_S // BORN_S * BORN_S): taken.fresh}
        for age, count in take_from(pile, kept).items():
            if age.attempts:
                self._outbox.put_ready(site, tenant, age, count=count)
            else:
                self._outbox.fresh[site][tenant] += count
        for age, count in take_from(pile, deferred).items():
            self._retry_later(site, tenant, age, count=count, step=step)

    def _retry_later(self, site: int, tenant: int, age: Age, *, count: int, step: int) -> None:
        sender = self.sender
        attempts = min(age.attempts + 1, sender.attempts_counted)
        if attempts >= sender.attempts_max:
            self._outbox.expired += count
            return
        steps = max(round(sender.retry_s(attempts) / STEP_S), 1)
        self._outbox.defer(site, tenant, Age(attempts, age.born_s), count=count, step=step + steps)
