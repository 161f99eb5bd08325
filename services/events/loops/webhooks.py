"""Webhooks: claim by lease, commit, POST, and write down the result where the claim still holds."""

import asyncio
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from contracts.events.v1.events_pb2 import WebhookDisabled
from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import clock, metrics
from kernel.backoff import Health, patiently
from kernel.crypto import Secrets
from kernel.database import Database, Transaction
from kernel.errors import BadSetting, Unavailable
from kernel.failpoint import failpoint
from kernel.group import Group
from kernel.outbox import Entry, Outbox
from kernel.topics import encode
from services.events.clients import Caller
from services.events.domain.calls import Call, call_of
from services.events.domain.endpoint import Endpoint
from services.events.domain.schedule import (
    CIRCUIT_FAILURES,
    GONE,
    Answer,
    delay_s,
    is_given_up,
)
from services.events.domain.signature import headers
from services.events.loops.line import WAITING_MAX, Line
from services.events.store import tasks, told, webhooks
from services.events.store.tasks import Claimed, Held, Result

LOGGED_WITHIN_S = 60.0
SAFETY_S = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    schedule_s: Sequence[float]
    concurrency: int
    timeout_s: float
    probe_s: float
    poll_s: float
    lease_s: float


@dataclass(frozen=True, slots=True)
class Tried:
    call: Call
    answer: Answer
    result: Result


class Webhooks:
    """Of this process. `take` and `room` are for who makes tasks; `run` is the loop."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        *,
        caller: Caller,
        secrets: Secrets,
        health: Health,
        rules: Rules,
    ) -> None:
        self._database = database
        self._caller = caller
        self._secrets = secrets
        self._outbox = outbox
        self._health = health
        self._rules = rules
        self._lines: dict[str, Line] = {}
        self._failures: Counter[str] = Counter()  # in a row, here
        self._failing: set[str] = set()  # whose failures are in the database
        self._results: Group[Tried, None] = Group(self._settle, items_max=500)
        self._woken = asyncio.Event()
        self._stopping = False

    def room(self, endpoint: Endpoint) -> int:
        """How many more calls it may be given now."""
        if (
            self._stopping
            or max(endpoint.failures, self._failures[endpoint.id]) >= CIRCUIT_FAILURES
        ):
            return 0
        line = self._lines.get(endpoint.id)
        return line.room if line else tasks_max(self._rules)

    def take(self, calls: Sequence[Call]) -> None:
        """Calls whose claim is committed. None: there may be tasks to claim."""
        if not calls:
            self.wake()
            return
        failpoint("events.webhook.claimed")
        by_endpoint: dict[str, list[Call]] = defaultdict(list)
        for call in calls:
            by_endpoint[call.endpoint.id].append(call)
        for endpoint_id, some in by_endpoint.items():
            self._line(endpoint_id).add(some)

    def wake(self) -> None:
        self._woken.set()

    def _line(self, endpoint_id: str) -> Line:
        if endpoint_id not in self._lines:
            keep_s = self._rules.lease_s - self._rules.timeout_s - SAFETY_S
            self._lines[endpoint_id] = Line(
                self._try,
                self._give_back,
                concurrency=self._rules.concurrency,
                lease_s=max(1.0, keep_s),
            )
        return self._lines[endpoint_id]

    async def run(self) -> None:
        """A loop: what is due, at once when something was added, else every so often."""
        while True:
            claimed = await patiently(self._claim, self._health)
            for one in [one for one, line in self._lines.items() if line.idle]:
                del self._lines[one]
            if not claimed:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), self._rules.poll_s)
            self._woken.clear()

    async def drain(self) -> None:
        self._stopping = True
        await asyncio.gather(*(line.end() for line in self._lines.values()))
        await self._results.idle()

    async def _claim(self) -> int:
        if self._stopping:
            return 0
        token = str(uuid4())
        async with self._database.transaction() as tx:
            claimed = await tasks.claim(
                tx,
                token,
                rooms={one: line.room for one, line in self._lines.items()},
                room=tasks_max(self._rules),
                lease_s=self._rules.lease_s,
            )
            calls = await self._load(tx, claimed, token=token) if claimed else []
        if calls:
            self.take(calls)
        return len(calls)

    async def _load(self, tx: Transaction, claimed: Sequence[Claimed], *, token: str) -> list[Call]:
        entries, accepts = await told.load(
            tx, [task.event_id for task in claimed], [task.subject_id for task in claimed]
        )
        early, calls = [], []
        for task in claimed:
            entry, accepted = entries.get(task.event_id), accepts.get(task.subject_id)
            waits = entry is not None and entry.fact.email_id and accepted is None
            if entry is None or (waits and task.age_s < LOGGED_WITHIN_S):
                early.append(Held(task.event_id, task.endpoint.id, token))
                continue
            calls.append(
                call_of(
                    entry,
                    accepted,
                    endpoint=task.endpoint,
                    token=token,
                    position=task.position,
                    tries=task.tries,
                )
            )
        if early:
            await tasks.put_back(tx, early, delay_s=1.0)
        return calls

    async def _try(self, call: Call) -> bool:
        """One POST; False when no more should follow for now."""
        endpoint = call.endpoint
        try:
            signed = headers(
                self._secrets.decrypt(endpoint.secret),
                call.id,
                timestamp=clock.now_ms() // 1000,
                body=call.body,
            )
            answer = await self._caller.post(endpoint.url, call.body, headers=signed)
        except BadSetting as error:
            answer = Answer(0, str(error))
        failpoint("events.webhook.posted")
        self._count(endpoint, answer)
        tried = Tried(call, answer, self._result(call, answer))
        await patiently(partial(self._results.submit, tried), self._health)
        return answer.ok or self._failures[endpoint.id] < CIRCUIT_FAILURES

    async def _give_back(self, calls: Sequence[Call]) -> None:
        """What waited for an endpoint that is not called any more for now."""
        held = [Held(call.event_id, call.endpoint.id, call.token) for call in calls]
        with suppress(Unavailable):  # then their leases end by themselves
            async with self._database.transaction() as tx:
                await tasks.put_back(tx, held, delay_s=0.0)

    def _count(self, endpoint: Endpoint, answer: Answer) -> None:
        metrics.webhooks.labels("delivered" if answer.ok else "failed").inc()
        if answer.ok:
            self._failures.pop(endpoint.id, None)
        else:
            before = max(endpoint.failures, self._failures[endpoint.id])
            self._failures[endpoint.id] = before + 1

    def _result(self, call: Call, answer: Answer) -> Result:
        tries = call.tries + 1
        state, later = tasks.DELIVERED, 0.0
        if not answer.ok:
            next_s = delay_s(
                self._rules.schedule_s,
                tries,
                retry_after_s=answer.retry_after_s,
                chance=random.random(),
            )
            gone = next_s is None or answer.status == GONE
            state, later = (tasks.FAILED, 0.0) if gone else (tasks.WAITING, next_s or 0.0)
        return Result(
            call.event_id,
            call.endpoint.id,
            call.token,
            state,
            later,
            tries,
            answer.status,
            answer.error,
        )

    async def _settle(self, tried: Sequence[Tried]) -> Sequence[None]:
        """The results of a group of tries, and what they say of their endpoints."""
        entry = Entry(None, ())
        try:
            async with self._database.transaction() as tx:
                await tasks.settle(tx, [one.result for one in tried])
                entry = await self._outbox.add(tx, await self._judge(tx, tried))
        except BaseException:
            self._outbox.abandon(entry)
            raise
        self._outbox.publish_soon(entry, self._health)
        return [None] * len(tried)

    async def _judge(self, tx: Transaction, tried: Sequence[Tried]) -> list[Outgoing]:
        """What a group of tries says of their endpoints: one success outweighs its failures."""
        well = {one.call.endpoint.id for one in tried if one.answer.ok}
        failed = Counter(one.call.endpoint.id for one in tried if not one.answer.ok)
        known = {one.call.endpoint.id for one in tried if one.call.endpoint.failures}
        if recovered := well & (known | self._failing):
            await webhooks.succeed(tx, sorted(recovered))
        self._failing -= recovered
        reasons = {one.call.endpoint.id: "gone" for one in tried if one.answer.status == GONE}
        if ill := {one: count for one, count in failed.items() if one not in well}:
            self._failing |= ill.keys()
            for one, failures, failing_for in await webhooks.fail(
                tx, ill, probe_s=self._rules.probe_s
            ):
                if is_given_up(failures, failing_for):
                    reasons.setdefault(one, "failing")
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


def tasks_max(rules: Rules) -> int:
    """For an endpoint that nothing waits for: no more than it can be asked within a lease."""
    return min(WAITING_MAX, rules.concurrency * 50)
