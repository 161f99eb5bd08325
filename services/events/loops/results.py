"""What came of tries, written down in groups: of the tasks, and of their endpoints."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from contracts.events.v1.events_pb2 import WebhookDisabled
from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import clock
from kernel.backoff import Health, patiently
from kernel.database import Database, Transaction
from kernel.outbox import Entry, Outbox
from kernel.topics import encode
from services.events.domain.calls import Call
from services.events.domain.schedule import GONE, Answer, is_given_up
from services.events.store import tasks, webhooks
from services.events.store.tasks import Result

GATHER_S = 0.2  # nobody waits; a crash meanwhile repeats these calls, which it may
GROUP_MAX = 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tried:
    call: Call
    answer: Answer
    result: Result


class Results:
    """counted: told how many failures in a row an endpoint has now, for those that failed.
    unwritten: failures since the last success that the database does not know yet.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        *,
        health: Health,
        probe_s: float,
        counted: Callable[[Mapping[str, int]], None],
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._health = health
        self._probe_s = probe_s
        self._counted = counted
        self.unwritten: Counter[str] = Counter()
        self._failing: set[str] = set()  # whose failures are in the database
        self._waiting: list[Tried] = []
        self._writer: asyncio.Task[None] | None = None

    def add(self, tried: Tried) -> None:
        endpoint_id = tried.call.endpoint.id
        if tried.answer.ok:
            self.unwritten.pop(endpoint_id, None)
        else:
            self.unwritten[endpoint_id] += 1
        self._waiting.append(tried)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def idle(self, *, within_s: float) -> None:
        """Return when everything is written, or it takes too long: then those calls come again."""
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=within_s)

    async def _write(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_S)
                some, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
                await self._settle(some)
                # Whatever became of them: who is called no more because of these must not wait for
                # a word that nobody says.
                self.unwritten -= failures_of(some)
        finally:
            self._writer = None

    async def _settle(self, some: Sequence[Tried]) -> None:
        """Together, or each alone when that fails; what fails alone comes again."""
        try:
            entry = await patiently(partial(self._commit, some), self._health)
        except Exception:
            if len(some) == 1:
                logger.exception("a webhook result is lost", extra={"id": some[0].call.id})
                return
            for one in some:
                await self._settle([one])
            return
        self._outbox.publish_soon(entry, self._health)

    async def _commit(self, some: Sequence[Tried]) -> Entry:
        async with self._database.transaction() as tx:
            await tasks.settle(tx, [one.result for one in some])
            return await self._outbox.add(tx, await self._judge(tx, some))

    async def _judge(self, tx: Transaction, some: Sequence[Tried]) -> list[Outgoing]:
        """What a group of tries says of their endpoints: one success outweighs its failures."""
        well = {one.call.endpoint.id for one in some if one.answer.ok}
        failed = failures_of(some)
        known = {one.call.endpoint.id for one in some if one.call.endpoint.failures}
        if recovered := well & (known | self._failing):
            await webhooks.succeed(tx, sorted(recovered))
        reasons = {one.call.endpoint.id: "gone" for one in some if one.answer.status == GONE}
        ill = {one: count for one, count in failed.items() if one not in well}
        found = await webhooks.fail(tx, ill, probe_s=self._probe_s) if ill else []
        for endpoint_id, failures, failing_for in found:
            if is_given_up(failures, failing_for):
                reasons.setdefault(endpoint_id, "failing")
        self._failing = (self._failing - recovered) | ill.keys()
        if found:
            now = {endpoint_id: failures for endpoint_id, failures, _ in found}
            tx.after_commit(lambda: self._counted(now))
        disabled = [await self._disable(tx, one, reason) for one, reason in reasons.items()]
        return [record for record in disabled if record is not None]

    async def _disable(self, tx: Transaction, endpoint_id: str, reason: str) -> Outgoing | None:
        found = await webhooks.disable(tx, endpoint_id, reason=reason)
        if found is None:
            return None
        tenant_id, now = found
        logger.warning("webhook.disabled", extra={"endpoint_id": endpoint_id, "reason": reason})
        event = WebhookDisabled(
            endpoint_id=endpoint_id,
            disabled_at_ms=int(now.timestamp() * 1000),
            tenant_id=tenant_id,
            reason=reason,
        )
        return encode(event, clock.now())


def failures_of(some: Sequence[Tried]) -> Counter[str]:
    """By endpoint."""
    return Counter(one.call.endpoint.id for one in some if not one.answer.ok)
