"""The delivery dispatcher: from an owned attempt to the reply of the receiving server."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock, metrics
from kernel.errors import Unavailable
from kernel.failpoint import failpoint
from kernel.health import DependencyHealth
from kernel.retry import retry_while_unavailable
from services.delivery.clients.mx_connector import NoConnection
from services.delivery.clients.smtp.connections import ConnectionRegistry
from services.delivery.clients.smtp.dial_target import SocketAddress
from services.delivery.clients.smtp.pool import AttemptReleased, ConnectionPool, ReadyQueueKey
from services.delivery.clients.smtp.session import SmtpSession
from services.delivery.domain.attempt_result import STALE, AttemptResult, attempted_event
from services.delivery.domain.host_policy import (
    SESSIONS_MAX,
    is_stale_connection,
    routing_error,
    should_try_next_host,
)
from services.delivery.domain.owned_attempt import AttemptKey, OwnedAttempt
from services.delivery.domain.pace import PaceLimiter
from services.delivery.domain.rendering import WireMessage
from services.delivery.domain.tls_policy import NO_POLICY
from services.delivery.loops.committer import (
    JournalCommitter,
    finished_attempt,
    record_attempt_span,
)
from services.delivery.loops.ready_queue import ReadyQueue
from services.delivery.loops.rendering import Renderer
from services.delivery.loops.tls_policies import TlsPolicyResolver
from services.delivery.store.journal import AttemptClaim, outcome_name

PACE_CHECK_S = 0.5  # a message that waits for its turn looks this often whether the service stops
RETRY_AFTER_S = 1.0  # when the database or the content store is unavailable

logger = logging.getLogger(__name__)


class DeliveryDispatcher:
    """The ready queues of this process, and its attempts in progress."""

    def __init__(
        self,
        committer: JournalCommitter,
        renderer: Renderer,
        *,
        connections: ConnectionRegistry,
        tls_policies: TlsPolicyResolver,
        health: DependencyHealth,
    ) -> None:
        self._committer = committer
        self._renderer = renderer
        self._connections = connections
        self._tls_policies = tls_policies
        self._health = health
        self._queues: dict[ReadyQueueKey, ReadyQueue] = {}
        self._in_progress: dict[AttemptKey, int] = {}
        self._awaiting_policy: set[asyncio.Task[None]] = set()
        self._draining = False

    def is_in_progress(self, key: AttemptKey, epoch: int) -> bool:
        """Whether this process works on the attempt under that epoch."""
        return self._in_progress.get(key) == epoch

    def enqueue(self, batch: Sequence[OwnedAttempt]) -> None:
        """Enqueue attempts that the journal gives to this worker, unless in progress already."""
        new = [one for one in batch if not self.is_in_progress(one.key, one.epoch)]
        if new:
            failpoint("delivery.started")
        for attempt in new:
            self._in_progress[attempt.key] = attempt.epoch
            self._dispatch(attempt)

    def _dispatch(self, attempt: OwnedAttempt) -> None:
        """Queue an attempt, once the TLS policy for its message is known. It waits outside the
        queue, so that a slow domain delays nothing else at its site."""
        if self._draining:
            self._release(attempt)
        elif (policy := self._tls_policies.known(attempt.assignment)) is not None:
            self._queue(attempt if policy is NO_POLICY else replace(attempt, policy=policy))
        else:
            task = asyncio.create_task(self._await_policy(attempt))
            self._awaiting_policy.add(task)
            task.add_done_callback(self._awaiting_policy.discard)

    async def _await_policy(self, attempt: OwnedAttempt) -> None:
        try:
            policy = await self._tls_policies.resolve(attempt.assignment)
        except Unavailable as error:
            self._postpone(attempt, error)
        except Exception:  # the attempt is open in the journal, so recovery finishes it
            logger.exception("delivery.attempt.crashed", extra=log_fields(attempt))
            self._release(attempt)
        except BaseException:
            self._release(attempt)
            raise
        else:
            self._queue(replace(attempt, policy=policy))

    def _queue(self, attempt: OwnedAttempt) -> None:
        name = ready_queue_key(attempt.assignment)
        if (queue := self._queues.get(name)) is None:
            queue = self._queues[name] = ReadyQueue(
                self._process, ConnectionPool(name, self._connections)
            )
        queue.pool.apply_limits(attempt.assignment)
        queue.enqueue(attempt)

    def _release(self, attempt: OwnedAttempt) -> None:
        if self._in_progress.get(attempt.key) == attempt.epoch:
            del self._in_progress[attempt.key]

    # ── one message ─────────────────────────────────────────────────────────────────────────────

    async def _process(self, queue: ReadyQueue, attempt: OwnedAttempt) -> None:
        """Make one attempt and record its result; an error affects this message alone."""
        started_s = clock.monotonic_s()
        try:
            result = await self._attempt(queue, attempt)
            await self._record_result(attempt, result, started_s=started_s)
        except Unavailable as error:
            # It is raised only before end of data, so the attempt can start again.
            self._postpone(replace(attempt, resumed=True), error)
            return
        except AttemptReleased as reason:
            logger.info(
                "delivery.attempt.released", extra={**log_fields(attempt), "reason": str(reason)}
            )
        except Exception:  # the attempt is open in the journal, so recovery finishes it
            logger.exception("delivery.attempt.crashed", extra=log_fields(attempt))
        self._release(attempt)

    def _postpone(self, attempt: OwnedAttempt, error: Unavailable) -> None:
        logger.warning(
            "delivery.attempt.postponed", extra={**log_fields(attempt), "unavailable": str(error)}
        )
        asyncio.get_running_loop().call_later(RETRY_AFTER_S, self._dispatch, attempt)

    async def _attempt(self, queue: ReadyQueue, attempt: OwnedAttempt) -> AttemptResult:
        if attempt.until_s < clock.monotonic_s():
            return STALE
        if (refusal := routing_error(attempt.assignment)) is not None:
            return refusal
        message = await self._renderer.render(attempt.assignment)
        if isinstance(message, AttemptResult):
            return message
        result = await self._try_hosts(queue, attempt, message)
        if attempt.policy is NO_POLICY:
            return result
        if result.is_policy_failure:
            metrics.tls_refusals.labels(result.peer.policy).inc()
            self._tls_policies.recheck(attempt.assignment)
        return attempt.policy.label(result)

    async def _try_hosts(
        self, queue: ReadyQueue, attempt: OwnedAttempt, message: WireMessage
    ) -> AttemptResult:
        """Try one host after the other until one accepts or refuses it (RFC 5321 §5.1)."""
        tried: set[SocketAddress] = set()
        last: AttemptResult | None = None
        while True:
            try:
                session = await queue.pool.acquire(
                    attempt.assignment,
                    tried=tried,
                    until_s=attempt.until_s,
                    policy=attempt.policy,
                )
            except NoConnection as error:
                if last is None or (error.result.is_host_failure and last.reply is None):
                    return error.result
                return last
            used = session.used
            result = await self._use_session(queue, attempt, message, session=session)
            if is_stale_connection(result, used=used):
                continue  # the server has not replied, so try again over another connection
            tried.add((session.peer.remote_ip, session.port))
            if not should_try_next_host(result) or len(tried) >= SESSIONS_MAX:
                return result
            last = result

    async def _use_session(
        self,
        queue: ReadyQueue,
        attempt: OwnedAttempt,
        message: WireMessage,
        *,
        session: SmtpSession,
    ) -> AttemptResult:
        """Send over one session, and return its connection to the pool if it is usable."""
        try:
            result = await self._transact(queue, attempt, message, session=session)
        except BaseException:
            queue.pool.drop(session)
            raise
        if result.reply is None:
            result = await self._connections.mx_connector.confirm(attempt.assignment, result)
        queue.pool.release(session, result)
        return result

    async def _transact(
        self,
        queue: ReadyQueue,
        attempt: OwnedAttempt,
        message: WireMessage,
        *,
        session: SmtpSession,
    ) -> AttemptResult:
        if not await self._keep_pace(queue.pool.pace, until_s=attempt.until_s):
            return STALE
        result = await session.send_envelope(message) or await session.send_body(message)
        if result is not None:
            return result
        failpoint("delivery.body_sent")
        if not await self._committer.record_data_sent(claim_of(attempt)):
            raise AttemptReleased("another worker has it")
        failpoint("delivery.data_sent")
        if (result := session.end_data()) is not None:
            return result
        queue.pool.shared.remove_deadline(session)  # the reply may take 10 minutes
        asyncio.get_running_loop().call_soon(failpoint, "delivery.end_of_data_sent")  # once sent
        result = await session.read_final_reply()
        failpoint("delivery.reply_received")
        return result

    async def _keep_pace(self, pace: PaceLimiter, *, until_s: float) -> bool:
        """Wait for the turn of a message at the wire. False if it comes too late."""
        while (delay_s := pace.delay_s(now_s := clock.monotonic_s())) > 0 and not self._draining:
            if now_s + delay_s > until_s:
                return False
            await asyncio.sleep(min(delay_s, PACE_CHECK_S))
        if self._draining:
            raise AttemptReleased("stopping")
        pace.spend(now_s)
        return True

    async def _record_result(
        self, attempt: OwnedAttempt, result: AttemptResult, *, started_s: float
    ) -> None:
        """Record the outcome, retrying for as long as the database is unavailable."""
        duration_ms = int((clock.monotonic_s() - started_s) * 1000)
        event = attempted_event(
            attempt.assignment, result, at_ms=clock.now_ms(), duration_ms=duration_ms
        )
        event.congested = self._renderer.congestion.is_congested
        trace = record_attempt_span(attempt.assignment, event)
        finished = finished_attempt(claim_of(attempt), event, trace)
        saved = await retry_while_unavailable(
            partial(self._committer.finish, finished), self._health
        )
        logger.info(
            "delivery.attempted" if saved else "delivery.late_reply",
            extra={
                **log_fields(attempt),
                "outcome": outcome_name(event),
                "bounce_class": event.bounce_class,
                "code": event.reply.code,
                "enhanced": event.reply.enhanced,
                "step": event.reply.step,
                "mx": event.reply.mx,
                "remote_ip": event.reply.remote_ip,
                "tls": event.reply.tls,
                "tls_verified": event.reply.tls_verified,
                "tls_policy": event.reply.tls_policy,
                "duration_ms": duration_ms,
            },
        )

    # ── loops and lifecycle ─────────────────────────────────────────────────────────────────────

    async def maintain_connections(self) -> None:
        """Close idle and slow connections, and remove ready queues without connections."""
        metrics.in_progress.set(len(self._in_progress))
        self._connections.maintain()
        for name in [name for name, queue in self._queues.items() if queue.is_idle]:
            del self._queues[name]

    async def drain(self) -> None:
        """Begin no new transaction, and wait for the replies of attempts past `data_sent`."""
        self._draining = True
        self._cancel_lookups()
        for queue in self._queues.values():
            for attempt in queue.drain():
                self._release(attempt)
        for queue in list(self._queues.values()):
            await queue.wait_done()
        await self._committer.wait_idle()

    def stop(self) -> None:
        """Cancel the attempts in progress; recovery finishes them."""
        self._draining = True
        self._cancel_lookups()
        for queue in self._queues.values():
            queue.stop()

    async def close(self) -> None:
        await self._tls_policies.close()

    def _cancel_lookups(self) -> None:
        for task in self._awaiting_policy:
            task.cancel()


def ready_queue_key(assignment: DeliveryAssigned) -> ReadyQueueKey:
    tenant_id = assignment.context.tenant_id if assignment.context.test else ""
    return ReadyQueueKey(assignment.egress_id, assignment.site, tenant_id)


def claim_of(attempt: OwnedAttempt) -> AttemptClaim:
    return AttemptClaim(attempt.key, attempt.epoch, attempt.resumed)


def log_fields(attempt: OwnedAttempt) -> dict[str, object]:
    """The ids of an attempt, for log lines."""
    context = attempt.assignment.context
    return {
        "message_id": attempt.assignment.message_id,
        "attempt": attempt.assignment.attempt,
        "tenant_id": context.tenant_id,
        "email_id": context.email_id,
        "egress_id": attempt.assignment.egress_id,
        "site": attempt.assignment.site,
    }
