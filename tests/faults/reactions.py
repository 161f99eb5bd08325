"""What comes back from recipients and their servers: bounces, complaints, opens, clicks and
unsubscriptions."""

import asyncio
import contextlib
import itertools
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from queue import Empty, Queue
from uuid import UUID

import psycopg

from contracts.router.v1.events_pb2 import SuppressionChanged
from kernel.crypto import derived_key
from mail import tracking, unsubscribe, verp
from mail.tracking import Click, PixelOpen, TrackingMode
from mail.unsubscribe import Subscription
from services.events.domain.log_event import EventKind
from tests.faults.client import RETRY_AFTER_S
from tests.faults.world import (
    DRAIN_TIMEOUT_S,
    PASSED_TIMEOUT_S,
    SENDER_DOMAIN,
    World,
    read_json_lines,
    wait_until,
)
from tests.support.links import ONE_CLICK, link_client
from tests.support.returned_mail import bounce, complaint, hand_in

INTERVAL_S = 0.2
PACE_S = 0.1  # of each actor, so that some are left for a time without new mail
COLLECTED = 10  # of each actor
TIMEOUT_S = 5.0  # of one attempt: the process may be frozen
OUTAGE_S = 10.0
URL = "https://shop.example/order"


class Act(StrEnum):
    """What happens to a message. Each message has one."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    OPEN = "open"
    CLICK = "click"
    UNSUBSCRIBE = "unsubscribe"


RETURNED = (Act.BOUNCE, Act.COMPLAINT)
HITS = (Act.OPEN, Act.CLICK, Act.UNSUBSCRIBE)
KINDS = {
    Act.BOUNCE: EventKind.BOUNCE,
    Act.COMPLAINT: EventKind.COMPLAINT,
    Act.OPEN: EventKind.OPENED,
    Act.CLICK: EventKind.CLICKED,
    Act.UNSUBSCRIBE: EventKind.UNSUBSCRIBED,
}
BY_MINUTE = (Act.OPEN, Act.CLICK)  # repeats in another minute are another event
SUPPRESSING = (*RETURNED, Act.UNSUBSCRIBE)
WEBHOOKS = {
    Act.BOUNCE: "email.bounced",
    Act.COMPLAINT: "email.complained",
    Act.OPEN: "email.opened",
    Act.CLICK: "email.clicked",
    Act.UNSUBSCRIBE: "email.unsubscribed",
}
LISTEN = {True: "DELIVERY_RETURN_PATH_LISTEN", False: "EVENTS_TRACKING_LISTEN"}
LOGGED = b"""
SELECT subject_id::text, count(*) FROM events.unpartitioned_log
WHERE kind = %s AND subject_id = ANY(%s::uuid[]) GROUP BY 1
"""
SUPPRESSIONS = b"SELECT payload FROM events.unpartitioned_log WHERE kind = %s"
COUNTED = b"""
SELECT subject_id::text, opens + machine_opens + clicks + machine_clicks FROM events.engagement
WHERE subject_id = ANY(%s::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Message:
    """A message at the sink."""

    message_id: UUID
    return_path: str
    recipient: str


@dataclass
class Actor:
    """Does one act on one message after another. Each is repeated until the engine confirms it,
    and then once more.

    minutes: in which each confirmed message was tried, by its id. interrupted: messages that
    needed several attempts.
    """

    act: Act
    world: World
    keys: "Keys"
    queue: "Queue[Message]" = field(default_factory=Queue)
    minutes: dict[str, set[int]] = field(default_factory=dict)
    interrupted: int = 0

    def run(self, released: threading.Event, stop: threading.Event) -> None:
        while not stop.wait(PACE_S):
            if released.wait(INTERVAL_S):
                with contextlib.suppress(Empty):
                    self.act_on(self.queue.get(timeout=INTERVAL_S))

    def act_on(self, message: Message) -> None:
        self.world.reacted[message.recipient] = WEBHOOKS[self.act]
        minutes = {minute()}
        for attempt in itertools.count():
            if self._confirmed(message, attempt):
                break
            self.interrupted += attempt == 0
            minutes.add(minute())
            time.sleep(RETRY_AFTER_S)
        self._confirmed(message, 0)
        self.minutes[str(message.message_id)] = minutes | {minute()}

    def _confirmed(self, message: Message, attempt: int) -> bool:
        listens = self.world.listens(LISTEN[self.act in RETURNED])
        port = int(listens[attempt % len(listens)].rpartition(":")[2])
        try:
            if self.act in RETURNED:
                return self._return(message, port)
            return asyncio.run(self._follow(message, port))
        except (OSError, TimeoutError, asyncio.IncompleteReadError, smtplib.SMTPException):
            return False

    def _return(self, message: Message, port: int) -> bool:
        path = message.return_path
        mail = (
            bounce(path, message.recipient)
            if self.act is Act.BOUNCE
            else complaint(path, f"Return-Path: <{path}>")
        )
        return hand_in(port, mail, path, timeout_s=TIMEOUT_S)[0] == 250

    async def _follow(self, message: Message, port: int) -> bool:
        async with asyncio.timeout(TIMEOUT_S), link_client(port) as client:
            ids, key = (UUID(self.world.tenant_id), message.message_id), self.keys.links
            if self.act is Act.UNSUBSCRIBE:
                path = f"/u/{unsubscribe.sign(Subscription(*ids), key)}"
                return (await client.request(path, "POST", body=ONE_CLICK)).status == 200
            if self.act is Act.CLICK:
                click = Click(*ids, URL, TrackingMode.IDENTIFIED)
                path = f"/c/{tracking.click_token(click, key)}"
                return (await client.request(path)).status == 302
            pixel = PixelOpen(*ids, TrackingMode.IDENTIFIED)
            path = f"/o/{tracking.open_token(pixel, key)}.gif"
            return (await client.request(path)).status == 200

    def summary(self) -> str:
        return f"{len(self.minutes)} {self.act} ({self.interrupted} interrupted)"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of an installation: of return paths and of links."""

    return_paths: bytes
    links: bytes


@dataclass
class Reactions:
    """All actors."""

    world: World
    actors: Mapping[Act, Actor]
    keys: Keys
    released: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)

    def collect(self) -> None:
        """Let no one act until all have something to do; call `released.set` then."""
        self.released.clear()
        wait_until(self._have_collected, DRAIN_TIMEOUT_S, "no mail arrives")

    def _have_collected(self) -> bool:
        return all(one.queue.qsize() >= COLLECTED for one in self.actors.values())

    def deal(self) -> None:
        """Give each message that arrives to the next actor."""
        arrived = len(read_json_lines(self.world.folder / "sink.jsonl"))
        turns = itertools.cycle(self.actors.values())
        seen: set[str] = set()
        while not self.stop.wait(INTERVAL_S):
            entries = read_json_lines(self.world.folder / "sink.jsonl")
            for entry in entries[arrived:]:
                path = str(entry["sender"])
                if path in seen or not path.endswith(f".{SENDER_DOMAIN}"):
                    continue  # a copy, or of another tenant
                seen.add(path)
                if message_id := verp.parse_return_path(path, keys=(self.keys.return_paths,)):
                    message = Message(message_id, path, str(entry["recipient"]))
                    next(turns).queue.put(message)
            arrived = len(entries)

    def confirmed(self, acts: Sequence[Act]) -> int:
        return sum(len(one.minutes) for act, one in self.actors.items() if act in acts)

    def await_confirmed(self, acts: Sequence[Act], number: int) -> None:
        wait_until(lambda: self.confirmed(acts) >= number, PASSED_TIMEOUT_S, "hits get no answer")

    def problems(self) -> list[str]:
        return problems_of(self.world, list(self.actors.values()))

    def check(self) -> None:
        """Raises AssertionError if a confirmed act is lost, or counted twice."""
        self.world.notes.extend(one.summary() for one in self.actors.values())
        if idle := [one.act for one in self.actors.values() if not one.minutes]:
            raise AssertionError(f"nothing was confirmed: {idle}")
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.problems(), DRAIN_TIMEOUT_S, "")
        if problems := self.problems():
            raise AssertionError("; ".join([f"{len(problems)} reactions", *problems[:10]]))


def problems_of(world: World, actors: Sequence[Actor]) -> list[str]:
    """What the log, the counts and the suppressions do not have as often as they should."""
    with world.database() as connection:
        rows: list[tuple[bytes]] = connection.execute(  # type: ignore[assignment]
            SUPPRESSIONS, [int(EventKind.SUPPRESSION)]
        ).fetchall()
        changes = [SuppressionChanged.FromString(bytes(payload)) for (payload,) in rows]
        suppressed = Counter(one.source_id for one in changes if one.change == "added")
        return [
            problem for one in actors for problem in problems_of_actor(one, connection, suppressed)
        ]


def problems_of_actor(
    actor: Actor,
    connection: "psycopg.Connection[tuple[object, ...]]",
    suppressed: Mapping[str, int],
) -> list[str]:
    act, ids = actor.act, list(actor.minutes)

    def numbers(query: bytes, *parameters: object) -> dict[str, int]:
        rows = connection.execute(query, [*parameters, ids]).fetchall()
        return {str(one): int(str(number)) for one, number in rows}

    logged = numbers(LOGGED, int(KINDS[act]))
    counted = numbers(COUNTED) if act in BY_MINUTE else logged
    found = []
    for one, minutes in actor.minutes.items():
        number, most = logged.get(one, 0), len(minutes) if act in BY_MINUTE else 1
        if not 1 <= number <= most or counted.get(one) != number:
            found.append(f"{act} of {one}: {number} in the log, {counted.get(one)} counted")
        if act in SUPPRESSING and suppressed[one] != 1:
            found.append(f"{act} of {one}: suppressed {suppressed[one]} times")
    return found


@contextlib.contextmanager
def reacting(world: World, *acts: Act) -> Iterator[Reactions]:
    """Let recipients react to what arrives from now on; check at the end that all is counted."""
    secret = world.environment["OBM_SECRET_KEYS"]
    keys = Keys(derived_key(secret, "return path"), derived_key(secret, "tracking"))
    actors = {act: Actor(act, world, keys) for act in acts}
    reactions = Reactions(world, actors, keys)
    threads = [threading.Thread(target=reactions.deal, daemon=True)]
    threads += [
        threading.Thread(target=one.run, args=[reactions.released, reactions.stop], daemon=True)
        for one in actors.values()
    ]
    for thread in threads:
        thread.start()
    try:
        yield reactions
    finally:
        reactions.stop.set()
        reactions.released.set()
        world.recover()  # so that each can finish its act
        for thread in threads:
            thread.join()
    reactions.check()


def under_reactions(
    world: World, times: int, *, inject_fault: Callable[[World, int], None], acts: Sequence[Act]
) -> None:
    """Inject another fault meanwhile."""
    with reacting(world, *acts) as reactions:
        reactions.collect()
        reactions.released.set()
        inject_fault(world, times)
        world.pause(times)


def stop_servers(world: World, times: int, *, outage_s: float = OUTAGE_S) -> None:
    """PostgreSQL and Kafka are away for long, and events is killed meanwhile: each link must still
    lead on."""
    with reacting(world, *Act) as reactions:
        for _ in range(times):
            reactions.collect()
            world.kill_kafka()
            world.kill_postgres()
            before = reactions.confirmed(HITS)
            reactions.released.set()
            reactions.await_confirmed(HITS, before + COLLECTED)
            world.kill("events")
            world.processes["events"].start()
            reactions.await_confirmed(HITS, before + len(HITS) * COLLECTED)
            time.sleep(outage_s)
            world.stack.postgres.start()
            world.stack.kafka.start()
            world.record_data_sent()


def minute() -> int:
    return int(time.time()) // 60
