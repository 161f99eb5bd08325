"""The send queue: from an assignment that was begun to the answer of the receiver."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock, metrics
from kernel.backoff import Health, patiently
from kernel.errors import Unavailable
from kernel.failpoint import failpoint
from kernel.telemetry import told
from services.delivery.clients.exchangers import NoConnection
from services.delivery.clients.smtp.connections import Connections
from services.delivery.clients.smtp.dial import At
from services.delivery.clients.smtp.dialogue import Dialogue
from services.delivery.clients.smtp.pool import LetGo, Name, Pool
from services.delivery.domain.ending import STALE, Ending, attempted
from services.delivery.domain.rendering import Mail
from services.delivery.domain.started import Key, Started
from services.delivery.domain.walk import DIALOGUES_MAX, asks_next, died_idle, misrouted
from services.delivery.loops.committer import Committer, done_of
from services.delivery.loops.rendering import Renderer
from services.delivery.loops.ways import Way
from services.delivery.store.journal import Held, word_of

AGAIN_AFTER_S = 1.0  # what the database or the store could not answer

logger = logging.getLogger(__name__)


class Sender:
    """All ways out of this process, and what it holds in memory."""

    def __init__(
        self,
        committer: Committer,
        renderer: Renderer,
        *,
        connections: Connections,
        health: Health,
    ) -> None:
        self._committer = committer
        self._renderer = renderer
        self._connections = connections
        self._health = health
        self._ways: dict[Name, Way] = {}
        self._in_hand: dict[Key, int] = {}
        self._draining = False

    def holds(self, key: Key, epoch: int) -> bool:
        """Whether this attempt is in memory, under that epoch."""
        return self._in_hand.get(key) == epoch

    def offer(self, batch: Sequence[Started]) -> None:
        """Take over what the journal says is ours, but for what is in hand already."""
        new = [one for one in batch if not self.holds(one.key, one.epoch)]
        if new:
            failpoint("delivery.started")
        for started in new:
            self._in_hand[started.key] = started.epoch
            self._push(started)

    def _push(self, started: Started) -> None:
        if self._draining:
            self._release(started)
            return
        name = name_of(started.assignment)
        if (way := self._ways.get(name)) is None:
            way = self._ways[name] = Way(self._serve, Pool(name, self._connections))
        way.pool.shape(started.assignment)
        way.push(started)

    def _release(self, started: Started) -> None:
        if self._in_hand.get(started.key) == started.epoch:
            del self._in_hand[started.key]

    # ── one message ─────────────────────────────────────────────────────────────────────────────

    async def _serve(self, way: Way, started: Started) -> None:
        """To its end; whatever goes wrong is this message's own."""
        begun_s = clock.monotonic_s()
        try:
            ending = await self._attempt(way, started)
            await self._tell(started, ending, begun_s=begun_s)
        except Unavailable as error:
            logger.warning("delivery.put_off", extra={**names(started), "away": str(error)})
            again = replace(started, again=True)  # only before the dot anything can be away
            asyncio.get_running_loop().call_later(AGAIN_AFTER_S, self._push, again)
            return
        except LetGo as reason:
            logger.info("delivery.let_go", extra={**names(started), "reason": str(reason)})
        except Exception:  # the journal has it, so recovery answers for it
            logger.exception("delivery.failed", extra=names(started))
        self._release(started)

    async def _attempt(self, way: Way, started: Started) -> Ending:
        if started.until_s < clock.monotonic_s():
            return STALE
        if (wrong := misrouted(started.assignment)) is not None:
            return wrong
        mail = await self._renderer.render(started.assignment.envelope)
        if isinstance(mail, Ending):
            return mail
        return await self._deliver(way, started, mail)

    async def _deliver(self, way: Way, started: Started, mail: Mail) -> Ending:
        """To one host after the other, until one takes it or refuses it (RFC 5321 §5.1)."""
        asked: set[At] = set()
        last: Ending | None = None
        while True:
            try:
                dialogue = await way.pool.acquire(
                    started.assignment, asked=asked, until_s=started.until_s
                )
            except NoConnection as none:
                return last or none.ending
            used = dialogue.used
            ending = await self._speak(way, started, mail, dialogue=dialogue)
            if died_idle(ending, used=used):
                continue  # over another connection: nobody has answered
            asked.add((dialogue.peer.remote_ip, dialogue.port))
            if not asks_next(ending) or len(asked) >= DIALOGUES_MAX:
                return ending
            last = ending

    async def _speak(self, way: Way, started: Started, mail: Mail, *, dialogue: Dialogue) -> Ending:
        """One dialogue. The connection is kept when the receiver leaves it usable."""
        try:
            ending = await self._say(way, started, mail, dialogue=dialogue)
        except BaseException:
            way.pool.drop(dialogue)
            raise
        way.pool.release(dialogue, ending)
        return ending

    async def _say(self, way: Way, started: Started, mail: Mail, *, dialogue: Dialogue) -> Ending:
        if self._draining:
            raise LetGo("stopping")
        ending = await dialogue.offer(mail) or await dialogue.body(mail)
        if ending is not None:
            return ending
        failpoint("delivery.body_sent")
        if not await self._committer.data_sent(held_of(started)):
            raise LetGo("another worker has it")
        failpoint("delivery.data_sent")
        if (ending := dialogue.send_dot()) is not None:
            return ending
        way.pool.all.lift_deadline(dialogue)  # its answer is waited for as long as RFC 5321 says
        asyncio.get_running_loop().call_soon(failpoint, "delivery.dot_sent")  # when it has left
        ending = await dialogue.answer()
        failpoint("delivery.answered")
        return ending

    async def _tell(self, started: Started, ending: Ending, *, begun_s: float) -> None:
        """Save the outcome, however long the database is away."""
        took_ms = int((clock.monotonic_s() - begun_s) * 1000)
        event = attempted(started.assignment, ending, at_ms=clock.now_ms(), duration_ms=took_ms)
        trace = traced(started, took_ms=took_ms)
        done = done_of(held_of(started), event, trace)
        saved = await patiently(partial(self._committer.done, done), self._health)
        logger.info(
            "delivery.attempted" if saved else "delivery.late_reply",
            extra={
                **names(started),
                "outcome": word_of(event),
                "bounce_class": event.bounce_class,
                "code": event.reply.code,
                "enhanced": event.reply.enhanced,
                "step": event.reply.step,
                "mx": event.reply.mx,
                "remote_ip": event.reply.remote_ip,
                "tls": event.reply.tls,
                "tls_verified": event.reply.tls_verified,
                "duration_ms": took_ms,
            },
        )

    # ── loops and lifecycle ─────────────────────────────────────────────────────────────────────

    async def close_idle(self) -> None:
        """Connections that are old or late, and ways without connections."""
        metrics.in_hand.set(len(self._in_hand))
        self._connections.sweep()
        for name in [name for name, way in self._ways.items() if way.idle]:
            del self._ways[name]

    async def drain(self) -> None:
        """No new DATA; those past `data_sent` wait for their answer."""
        self._draining = True
        for way in self._ways.values():
            for started in way.drain():
                self._release(started)
        for way in list(self._ways.values()):
            await way.done()
        await self._committer.idle()

    def stop(self) -> None:
        """What is not at its end by now is for recovery."""
        self._draining = True
        for way in self._ways.values():
            way.stop()


def name_of(assignment: DeliveryAssigned) -> Name:
    tenant_id = assignment.envelope.tenant_id if assignment.envelope.test else ""
    return Name(assignment.egress_id, assignment.site, tenant_id)


def held_of(started: Started) -> Held:
    return Held(started.key, started.epoch, started.again)


def traced(started: Started, *, took_ms: int) -> str:
    """The attempt as a span; the trace context of what follows from it."""
    given = started.assignment.envelope.traceparent.encode()
    began_ns = (clock.now_ms() - took_ms) * 1_000_000
    return (told("delivery.attempt", given or None, began_ns=began_ns) or b"").decode()


def names(started: Started) -> dict[str, object]:
    """The ids of a message, for the log."""
    envelope = started.assignment.envelope
    return {
        "message_id": started.assignment.message_id,
        "attempt": started.assignment.attempt,
        "tenant_id": envelope.tenant_id,
        "email_id": envelope.email_id,
        "egress_id": started.assignment.egress_id,
        "site": started.assignment.site,
    }
