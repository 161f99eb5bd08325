"""Webhooks: claim by lease, commit, POST, and write down the result where the claim still holds."""

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from kernel import clock, metrics
from kernel.addresses import Refused
from kernel.backoff import Health, patiently
from kernel.crypto import Secrets
from kernel.database import Database, Transaction
from kernel.errors import BadSetting, Unavailable
from kernel.failpoint import failpoint
from kernel.outbox import Outbox
from services.events.clients import Caller
from services.events.domain.calls import Call, call_of
from services.events.domain.endpoint import Endpoint
from services.events.domain.schedule import (
    CIRCUIT_FAILURES,
    GONE,
    Answer,
    delay_s,
)
from services.events.domain.signature import headers
from services.events.loops.line import WAITING_MAX, Line
from services.events.loops.results import Results, Tried
from services.events.store import tasks, told
from services.events.store.tasks import Claimed, Held, Result

LOGGED_WITHIN_S = 60.0
SAFETY_S = 5.0
STALE_S = 2.0
DRAIN_S = 5.0

CALLS = {name: metrics.webhooks.labels(name) for name in ("delivered", "refused", "failed")}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    schedule_s: Sequence[float]
    concurrency: int
    timeout_s: float
    probe_s: float
    poll_s: float
    lease_s: float


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
        self._health = health
        self._rules = rules
        self._known: dict[str, int] = {}  # failures in a row, by the database
        self._results = Results(
            database, outbox, health=health, probe_s=rules.probe_s, counted=self._known.update
        )
        self._lines: dict[str, Line] = {}
        self._failed_at_s: dict[str, float] = {}
        self._woken = asyncio.Event()
        self._stopping = False

    def room(self, endpoint: Endpoint) -> int:
        """How many more calls it may be given now."""
        self._know(endpoint)
        if self._stopping or self._is_broken(endpoint.id):
            return 0
        line = self._lines.get(endpoint.id)
        return line.room if line else tasks_max(self._rules)

    def _rooms(self) -> dict[str, int]:
        """Of endpoints that are busy, or failed so lately that the database does not know."""
        rooms = {one: line.room for one, line in self._lines.items()}
        return rooms | {one: 0 for one in self._results.unwritten if self._is_broken(one)}

    def _is_broken(self, endpoint_id: str) -> bool:
        failures = self._known.get(endpoint_id, 0) + self._results.unwritten[endpoint_id]
        return failures >= CIRCUIT_FAILURES

    def _know(self, endpoint: Endpoint) -> None:
        """As just read; but a moment ago the database may not have known of a failure here."""
        if endpoint.failures:
            self._known[endpoint.id] = endpoint.failures
        elif clock.monotonic_s() - self._failed_at_s.get(endpoint.id, 0.0) > STALE_S:
            self._known.pop(endpoint.id, None)
            self._failed_at_s.pop(endpoint.id, None)

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
                    async with asyncio.timeout(self._rules.poll_s):
                        await self._woken.wait()
            self._woken.clear()

    async def drain(self) -> None:
        self._stopping = True
        await asyncio.gather(*(line.end() for line in self._lines.values()))
        await self._results.idle(within_s=DRAIN_S)

    async def _claim(self) -> int:
        if self._stopping:
            return 0
        token = str(uuid4())
        async with self._database.transaction() as tx:
            claimed = await tasks.claim(
                tx,
                token,
                rooms=self._rooms(),
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
            self._know(task.endpoint)
            entry, accepted = entries.get(task.event_id), accepts.get(task.subject_id)
            waits = entry is not None and entry.fact.email_id and accepted is None
            if entry is None or (waits and task.age_s < LOGGED_WITHIN_S):
                early.append(Held(task.endpoint.id, task.position, token))
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
        self._results.add(Tried(call, answer, self._result(call, answer)))
        return answer.ok or not self._is_broken(endpoint.id)

    async def _give_back(self, calls: Sequence[Call]) -> None:
        """What waited for an endpoint that is not called any more for now."""
        held = [Held(call.endpoint.id, call.position, call.token) for call in calls]
        with suppress(Unavailable):  # then their leases end by themselves
            async with self._database.transaction() as tx:
                await tasks.put_back(tx, held, delay_s=0.0)

    def _count(self, endpoint: Endpoint, answer: Answer) -> None:
        CALLS[outcome_of(answer)].inc()
        if answer.ok:
            self._known.pop(endpoint.id, None)
            self._failed_at_s.pop(endpoint.id, None)
            return
        self._failed_at_s[endpoint.id] = clock.monotonic_s()
        logger.info(
            "webhook.failed",
            extra={"endpoint_id": endpoint.id, "status": answer.status, "error": answer.error},
        )

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
            call.endpoint.id,
            call.position,
            call.token,
            state,
            later,
            tries,
            answer.status,
            answer.error,
        )


def outcome_of(answer: Answer) -> str:
    """A metric's label."""
    if answer.ok:
        return "delivered"
    return "refused" if answer.error.startswith(Refused.__name__) else "failed"


def tasks_max(rules: Rules) -> int:
    """For an endpoint that nothing waits for: no more than it can be asked within a lease."""
    return min(WAITING_MAX, rules.concurrency * 50)
