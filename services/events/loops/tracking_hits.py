"""Reads the spool of hits, and makes events of them."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import Message

from kernel import clock, metrics
from kernel.bounded_dict import BoundedDict
from kernel.database import Database, Transaction
from kernel.days import day_of
from kernel.failpoint import failpoint
from kernel.health import DependencyHealth
from kernel.outbox import Outbox
from kernel.topics import encode
from mail.bot_hits import BotRule
from services.events.domain.days import may_be_logged_soon
from services.events.domain.engagement import (
    DeliveredMessage,
    EngagementCounts,
    record_hits,
    subject_of,
    unsubscribed_by_link,
)
from services.events.domain.hit import RecordedHit, decode_hit
from services.events.store import engagement
from services.events.store.days import LogDayPartitions
from services.events.store.hit_spool import HitSpool, SpoolPosition

BATCH = 500
UNKNOWN_MAX = 10_000

logger = logging.getLogger(__name__)


class SpooledHit(NamedTuple):
    """A hit of the spool; None if it cannot be read. end: the position after it."""

    hit: RecordedHit | None
    end: SpoolPosition


@dataclass(slots=True)
class HitSpoolReader:
    """The action of a loop. The position in the spool is stored in the transaction that records the
    hits, so that each is counted once.

    linger_s: age from which hits are read, so that a burst of clicks is seen as a whole.
    unknown_wait_s: how long hits wait for the log to have their message, if it is young.
    """

    database: Database
    outbox: Outbox
    spool: HitSpool
    rules: Sequence[BotRule]
    health: DependencyHealth
    linger_s: float
    unknown_wait_s: float
    days: LogDayPartitions = field(default_factory=LogDayPartitions)
    _position: SpoolPosition | None = None
    _missing_since: BoundedDict[str, float] = field(
        default_factory=lambda: BoundedDict(UNKNOWN_MAX)
    )

    async def run_once(self) -> None:
        if self._position is None:
            async with self.database.transaction() as tx:
                stored = await engagement.load_position(tx, self.spool.id)
            self._position = self.spool.known(stored)
        while (position := await self._record_batch(self._position)) != self._position:
            self._position = position
            self.spool.remove_before(position)

    async def _record_batch(self, position: SpoolPosition) -> SpoolPosition:
        """Record the next hits; returns the position after them."""
        records = await asyncio.to_thread(self.spool.read, position, BATCH)
        if not records:
            return self.spool.skip_ended(position)
        read: Sequence[SpooledHit] = [SpooledHit(_decoded(one.data), one.end) for one in records]
        now_ms, linger_ms = clock.now_ms(), int(self.linger_s * 1000)
        read = _before(read, lambda hit: 0 <= now_ms - hit.at_ms < linger_ms)
        if not read:
            return position
        async with self.database.transaction() as tx:
            ids = {one.hit.message_id for one in read if one.hit and _has_day(one.hit)}
            messages = await engagement.load_messages(tx, ids)
            waiting = self._still_expected(ids - messages.keys())
            read = _before(read, lambda hit: hit.message_id in waiting)
            if not read:
                return position
            hits = [one.hit for one in read if one.hit]
            known = [hit for hit in hits if hit.message_id in messages]
            forgotten = [
                unsubscribed_by_link(hit) for hit in hits if hit.message_id not in messages
            ]
            by_link = [event for event in forgotten if event]
            events = [*await self._record(tx, known, messages), *by_link]
            entry = await self.outbox.add(tx, [encode(event, clock.now()) for event in events])
            await engagement.save_position(tx, self.spool.id, read[-1].end)
            failpoint("events.tracking.in_transaction")
        failpoint("events.tracking.committed")
        metrics.tracking_hits_lost.labels("unknown").inc(len(read) - len(known) - len(by_link))
        self.outbox.publish_in_background(entry, self.health)
        return read[-1].end

    async def _record(
        self, tx: Transaction, hits: Sequence[RecordedHit], messages: Mapping[str, DeliveredMessage]
    ) -> list[Message]:
        """By message, because the hits of others say nothing about who makes them: the messages of
        an email share an engagement in mode anonymous."""
        groups: dict[tuple[str, str], list[RecordedHit]] = defaultdict(list)
        for hit in hits:
            groups[subject_of(hit, messages[hit.message_id]), hit.message_id].append(hit)
        if not groups:
            return []
        owners = {subject: messages[message_id] for subject, message_id in groups}
        await self.days.ensure_engagement(tx, {day_of(one) for one in owners})
        found = await engagement.lock_engagement(
            tx,
            [
                EngagementCounts(one, owner.email_id, owner.tenant_id)
                for one, owner in owners.items()
            ],
        )
        events: list[Message] = []
        for (subject, message_id), some in groups.items():
            found[subject], new = record_hits(
                found[subject], some, message=messages[message_id], rules=self.rules
            )
            events += new
        await engagement.update_engagement(tx, found.values())
        return events

    def _still_expected(self, missing: Collection[str]) -> set[str]:
        """The messages that may be in the log soon. The time counts while the log can be read."""
        now_s, today = clock.monotonic_s(), clock.now().date()
        expected = {one for one in missing if may_be_logged_soon(day_of(one), today)}
        for one in expected - self._missing_since.keys():
            self._missing_since[one] = now_s
        return {
            one
            for one in expected
            if now_s - self._missing_since.get(one, now_s) < self.unknown_wait_s
        }


def _decoded(record: bytes) -> RecordedHit | None:
    try:
        return decode_hit(record)
    except ValueError:  # of a newer version
        logger.warning("tracking.unreadable_hit", extra={"octets": len(record)})
        return None


def _before(
    read: Sequence[SpooledHit], stop: Callable[[RecordedHit], bool]
) -> Sequence[SpooledHit]:
    """Those before the first hit at which to stop."""
    at = next((n for n, one in enumerate(read) if one.hit and stop(one.hit)), len(read))
    return read[:at]


def _has_day(hit: RecordedHit) -> bool:
    try:
        day_of(hit.message_id)
    except ValueError:
        return False
    return True
