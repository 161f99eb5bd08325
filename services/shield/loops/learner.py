"""The learner: folds what became of mail into assessments of campaigns and versions of the model.

One process at a time, by a lease. The state is stored with the offset of the first outcome that it
does not know. What was decided since is decided again by a successor, from the same outcomes, with
the same ids.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import DecodeError, Message

from contracts.shield.v1.learning_pb2 import CampaignAssessed, ModelVersionChanged, OutcomeRecorded
from kernel import clock, metrics
from kernel.errors import Fenced, Unavailable
from kernel.failpoint import failpoint
from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.processor import Record
from kernel.retry import retry_while_unavailable
from kernel.topics import encode
from services.shield.domain.learning.facts import AssessmentChange, VersionChangeKind
from services.shield.domain.outcomes import Event, OutcomeFold, PackedVersion
from services.shield.store import learner as store
from services.shield.store import versions
from services.shield.store.learner import CampaignUpdate, SavedLearnerState
from services.shield.store.versions import RolloutVersions

IDLE_S = 1.0
SNAPSHOT_INTERVAL_S = 30.0
PUBLISHED = "published"
ASSESSED_COUNTERS = {  # from 0 on, so that the first one is an increase
    change: metrics.campaigns_assessed.labels(change)
    for change in (*AssessmentChange, PUBLISHED, *VersionChangeKind)
}

logger = logging.getLogger(__name__)


class OutcomeReader(Protocol):
    async def read(self) -> Sequence[Record]: ...


@dataclass(frozen=True, slots=True)
class LearnerLoop:
    """new_fold: from a stored state; without one, or with one of other code, from nothing. reader:
    of the outcomes from an offset on."""

    lease: Lease
    outbox: Outbox
    health: DependencyHealth
    new_fold: Callable[[bytes], OutcomeFold]
    reader: Callable[[int], AbstractAsyncContextManager[OutcomeReader]]

    async def run(self) -> None:
        while True:
            if self.lease.fence is not None:
                await self.lead()
            await asyncio.sleep(IDLE_S)

    async def lead(self) -> None:
        """Learn until another process does, or until what it needs is away: then it is unknown what
        was stored, and the next turn reads it."""
        try:
            state = await retry_while_unavailable(self.load, self.health)
            fold = await asyncio.to_thread(self.new_fold, state)
            async with self.reader(fold.next_offset) as reader:
                await self.follow(fold, reader)
        except Fenced:
            return
        except Unavailable as error:
            logger.warning("shield.learner.interrupted", extra={"unavailable": str(error)})

    async def load(self) -> bytes:
        """The stored state; empty without one. Raises Fenced."""
        async with self.lease.transaction() as tx:
            saved = await store.load_state(tx)
        return saved.state if saved else b""

    async def follow(self, fold: OutcomeFold, reader: OutcomeReader) -> None:
        saved_s, saved_offset = clock.monotonic_s(), fold.next_offset
        while self.lease.fence is not None:
            records = await reader.read()
            events = await asyncio.to_thread(apply, fold, records) if records else []
            is_due = clock.monotonic_s() - saved_s >= SNAPSHOT_INTERVAL_S
            state = b""
            if is_due and fold.next_offset != saved_offset:
                state = await asyncio.to_thread(fold.snapshot)
                saved_s, saved_offset = clock.monotonic_s(), fold.next_offset
            if records or state:
                await self.save(fold, events, state)

    async def save(self, fold: OutcomeFold, events: Sequence[Event], state: bytes) -> None:
        """state: empty if it is not stored now."""
        published: list[Message] = []
        async with self.lease.transaction() as tx:
            await store.record(tx, updates_of(fold, events))
            for event in events:
                if isinstance(event, PackedVersion):
                    await versions.save_version(tx, event, usable=fold.rollout.usable)
                    published.append(event.published)
                else:
                    published.append(event)
                if isinstance(event, ModelVersionChanged):
                    await versions.save_change(tx, event)
            if any(not isinstance(event, CampaignAssessed) for event in events):
                await versions.save_rollout(tx, in_use(fold), next_offset=fold.next_offset)
            if state:
                await store.save_state(tx, SavedLearnerState(fold.next_offset, state))
            now = clock.now()
            entry = await self.outbox.add(tx, [encode(event, now) for event in published])
            failpoint("shield.learner.in_transaction")
        failpoint("shield.learner.committed")
        fold.touched.clear()
        with self.lease.publishing():
            await self.outbox.publish(entry, self.health)
        count(events)


def apply(fold: OutcomeFold, records: Sequence[Record]) -> list[Event]:
    """What follows from the records. What nobody can read changes nothing."""
    events: list[Event] = []
    for record in records:
        try:
            outcome = OutcomeRecorded.FromString(record.value or b"")
        except DecodeError:
            continue
        events += fold.apply(outcome, record.offset)
    return events


def in_use(fold: OutcomeFold) -> RolloutVersions:
    return RolloutVersions(fold.rollout.live, fold.rollout.shadow)


def updates_of(fold: OutcomeFold, events: Sequence[Event]) -> list[CampaignUpdate]:
    """Of the campaigns with new outcomes, with the latest assessment of each."""
    assessed = {event.campaign_id: event for event in events if isinstance(event, CampaignAssessed)}
    found: list[CampaignUpdate] = []
    for campaign_id in fold.touched | assessed.keys():
        if (current := fold.current(campaign_id)) is not None:
            latest = assessed.get(campaign_id)
            stored = latest.SerializeToString() if latest else b""
            found.append(CampaignUpdate(campaign_id, *current, stored))
    return found


def count(events: Sequence[Event]) -> None:
    for event in events:
        change = PUBLISHED if isinstance(event, PackedVersion) else event.change
        ASSESSED_COUNTERS[change].inc()
