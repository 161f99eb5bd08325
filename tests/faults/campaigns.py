"""Campaigns while shield learns: what recipients complain about is held, other mail of the tenant
goes on, each outcome counts once, and a replay gives the same state."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psycopg

import services.shield
from contracts.shield.v1.learning_pb2 import CampaignAssessed, OutcomeRecorded
from kernel.crypto import derived_key
from kernel.topics import contract_of
from mail import verp
from services.router.domain.campaigns import FIRST_ALLOWANCE
from services.shield.domain.learning.campaign import CampaignRamp
from services.shield.domain.learning.facts import AssessmentChange
from services.shield.domain.outcomes import LearningConfig, OutcomeFold, read_baseline
from tests.faults.reactions import Act, Actor, Keys, Message, problems_of
from tests.faults.scenario import InjectFault, Scenario
from tests.faults.world import (
    DRAIN_TIMEOUT_S,
    World,
    read_json_lines,
    start_world,
    wait_until,
)
from tests.support.kafka_clients import options_of
from tests.support.records import records_of

POLL_S = 0.5
FAULTS_PER_TURN = 2
COPIES_MIN, LIMITED_FROM = 5, 20
LEARNING = {
    "SHIELD_LEARNING": "on",
    "SHIELD_CAMPAIGN_COPIES_MIN": str(COPIES_MIN),
    "SHIELD_CAMPAIGN_LIMITED_FROM": str(LIMITED_FROM),
    "SHIELD_CAMPAIGN_WAIT_S": "10",  # faults take as long
    "OBM_CAMPAIGN_ALLOWANCE": "60",
}
# The defaults, but for the time that a campaign waits for complaints.
FULL_SIZE = {"SHIELD_LEARNING": "on", "SHIELD_CAMPAIGN_WAIT_S": "30"}
VOCABULARY = """garden chairs tables lamps benches swings summer catalogue mill workshop oak
cherry linen cushions candles vases baskets mirrors shelves carpets blankets delivery showroom
spring painted woven carved polished folding stacking hanging round square narrow autumn"""
SETTLED_S = 90.0  # longer than the learner waits until it stores its state
COUNTED = """
SELECT c.delivered, (SELECT count(*) FROM router.messages AS m
    WHERE m.state = 'delivered' AND m.tenant_id = c.tenant_id
        AND position(convert_to(c.campaign_id::text, 'UTF8') IN m.context) > 0), c.assessed
FROM shield.campaigns AS c WHERE c.assessed IS NOT NULL
"""
SAVED = "SELECT next_offset, state FROM shield.learner"
HELD = "SELECT count(*) FROM router.messages WHERE state = 'held'"


class Plan(NamedTuple):
    """Of a campaign with complaints: its size, and of how many deliveries one complains. before:
    how many may have left when the rest is held. good: messages of another one of the tenant."""

    size: int
    complaints_of: int
    before: int
    good: int = 0


SMALL = Plan(300, complaints_of=5, before=300)
WHOLE = Plan(6_000, complaints_of=200, before=5_000, good=6_000)


@dataclass
class Complainers:
    """Recipients who complain by ARF, each until it is confirmed."""

    world: World
    actor: Actor
    every: int
    of: set[str]
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        seen: set[str] = set()
        while not self.stop.wait(POLL_S):
            for path, recipient in arrivals(self.world, self.of - seen):
                seen.add(recipient)
                if len(seen) % self.every == 0:
                    self.actor.act_on(self.message(path, recipient))

    def message(self, path: str, recipient: str) -> Message:
        message_id = verp.parse_return_path(path, keys=(self.actor.keys.return_paths,))
        assert message_id
        return Message(message_id, path, recipient)


def arrivals(world: World, recipients: set[str]) -> Iterator[tuple[str, str]]:
    """Return path and recipient, once for each recipient."""
    found = {
        str(entry["recipient"]): str(entry["sender"])
        for entry in read_json_lines(world.folder / "sink.jsonl")
        if entry["recipient"] in recipients
    }
    return ((path, recipient) for recipient, path in found.items())


@contextmanager
def complaining(world: World, recipients: set[str], every: int) -> Iterator[Actor]:
    secret = world.environment["OBM_SECRET_KEYS"]
    keys = Keys(derived_key(secret, "return path"), derived_key(secret, "tracking"))
    complainers = Complainers(world, Actor(Act.COMPLAINT, world, keys), every, recipients)
    thread = threading.Thread(target=complainers.run, daemon=True)
    thread.start()
    try:
        yield complainers.actor
    finally:
        complainers.stop.set()
        world.recover()  # so that the last one is confirmed
        thread.join()


def text_of(name: str) -> str:
    """That of a campaign, another one for each name."""
    chance, words = random.Random(name), VOCABULARY.split()
    sentences = [" ".join(chance.choices(words, k=9)).capitalize() + "." for _ in range(8)]
    return "Hello {recipient}, our news:\n" + "\n".join(sentences)


def campaign_is_held(
    world: World, turn: int, plan: Plan, *, meanwhile: Callable[[], object] = bool
) -> int:
    """Send a campaign, and complain about it until the rest is held. Returns how many have left;
    then a reviewer releases the rest, and it leaves too. meanwhile: waits for what else happens."""
    client = world.client
    text = text_of(f"{world.seed} {turn}")
    # A domain counts once a day, unless it is a large provider's.
    sent = client.burst(client.key, client.sender, plan.size, text=text, own_domains=True)
    recipients = set(sent)
    with complaining(world, recipients, plan.complaints_of) as actor:

        def is_held() -> bool:
            with suppress(psycopg.Error):  # it may be away
                held = world.count(HELD)
                return held > 0 and held + world.count_arrivals(recipients) >= plan.size
            return False

        wait_until(is_held, DRAIN_TIMEOUT_S, "a campaign with complaints is not held")
        meanwhile()
    left = world.count_arrivals(recipients)
    if left >= plan.before:
        raise AssertionError(f"{left} of {plan.size} have left")
    release(world)
    arrived = partial(world.have_arrived, recipients, plan.size)
    wait_until(arrived, DRAIN_TIMEOUT_S, "released mail does not leave")
    all_counted = f"complaints are not counted once: {problems_of(world, [actor])[:5]}"
    wait_until(lambda: not problems_of(world, [actor]), DRAIN_TIMEOUT_S, all_counted)
    return left


def release(world: World) -> None:
    """All that is held, as a reviewer does, until nothing is."""
    deadline_s = time.monotonic() + DRAIN_TIMEOUT_S
    while world.count(HELD):
        if time.monotonic() > deadline_s:
            raise AssertionError("held mail cannot be released")
        try:
            httpx.post(
                f"http://{world.client.listens[0]}/v1/held/release",
                headers={"Authorization": f"Bearer {world.client.key}"},
                json={"filter": {"all": True}, "reason": "they have asked for it"},
                timeout=10,
            )
        except httpx.HTTPError:
            time.sleep(POLL_S)


def under_campaigns(world: World, times: int, *, inject_fault: InjectFault) -> None:
    """A campaign is held in each turn, and faults come meanwhile."""
    left = []
    for turn in range(times):
        with ThreadPoolExecutor(1) as pool:
            fault = pool.submit(inject_fault, world, FAULTS_PER_TURN)
            left.append(campaign_is_held(world, turn, SMALL, meanwhile=fault.result))
    world.notes.append(f"{left} of {SMALL.size} have left before the rest was held")
    check_learning(world)


def full_size(world: World, times: int) -> None:
    """A campaign with half a percent of complaints is held before 5,000 have left, and a good one
    of the same tenant goes on."""
    client, started_s = world.client, time.monotonic()
    for turn in range(times):
        send = partial(client.burst, client.key, client.sender, text=text_of(f"good {turn}"))
        with ThreadPoolExecutor(1) as pool:
            good = pool.submit(send, WHOLE.good)
            left = campaign_is_held(world, turn, WHOLE)
        arrived = partial(world.have_arrived, good.result(), WHOLE.good)
        wait_until(arrived, DRAIN_TIMEOUT_S, "a good campaign does not go on")
        world.notes.append(
            f"the rest of {WHOLE.size} was held after {left}, {WHOLE.good} of a good one have left"
        )
    world.notes.append(f"{time.monotonic() - started_s:.0f} s")
    check_learning(world)


def check_learning(world: World) -> None:
    """Each delivery was counted once, and the outcomes give the stored state again."""
    world.recover()
    world.client.stop()
    wait_until(world.all_closed, DRAIN_TIMEOUT_S, "accepted messages are still open")
    wait_until(lambda: is_counted(world), SETTLED_S, "deliveries are not counted once")
    wait_until(lambda: bool(rows(world, SAVED)), SETTLED_S, "no state was stored")
    [(next_offset, state)] = rows(world, SAVED)
    records = asyncio.run(outcomes(world))[:next_offset]
    replayed = OutcomeFold(start_of(world))
    for offset, raw in enumerate(records):
        replayed.apply(OutcomeRecorded.FromString(raw), offset)
    stored = OutcomeFold.restore(start_of(world), bytes(state))
    if replayed.learner.state.digest() != stored.learner.state.digest():
        raise AssertionError("a replay of the outcomes gives another state")
    if not stored.learner.state.progress.learned:
        raise AssertionError("nothing was learned")
    world.notes.append(f"{len(records)} outcomes give the same digest again")


def is_counted(world: World) -> bool:
    """Whether the deliveries of campaigns are those in the router. Those of a held one are not
    counted any more."""
    found = [
        (counted, delivered)
        for counted, delivered, raw in rows(world, COUNTED)
        if (assessed := CampaignAssessed.FromString(bytes(raw))).change != AssessmentChange.HELD
        and not assessed.reviewed
    ]
    return bool(found) and all(counted == delivered for counted, delivered in found)


def rows(world: World, query: str) -> list[tuple[Any, ...]]:
    with world.database() as connection:
        return connection.execute(query.encode()).fetchall()


async def outcomes(world: World) -> list[bytes]:
    topic = contract_of(OutcomeRecorded.DESCRIPTOR).topic.name
    kafka = options_of(world.stack.kafka.client_settings)
    return [one.value or b"" for one in await records_of(kafka, topic)]


def start_of(world: World) -> LearningConfig:
    """As the processes of this world start to learn."""
    model = Path(services.shield.__file__).with_name("shield.model").read_bytes()
    allowance = int(world.environment.get("OBM_CAMPAIGN_ALLOWANCE", FIRST_ALLOWANCE))
    wait_s = float(world.environment["SHIELD_CAMPAIGN_WAIT_S"])
    return LearningConfig(
        read_baseline(model), is_enforced=True, ramp=CampaignRamp.of(allowance, wait_s)
    )


def campaign_scenarios(faults: Mapping[str, InjectFault]) -> list[Scenario]:
    """faults: that come meanwhile, by name."""
    learning = partial(start_world, more_settings=LEARNING)
    whole = partial(start_world, more_settings=FULL_SIZE)
    return [
        *(
            Scenario(
                f"{name} under campaigns",
                partial(under_campaigns, inject_fault=fault),
                times=5,
                rate_per_s=5.0,
                start=learning,
            )
            for name, fault in faults.items()
        ),
        Scenario("campaign at full size", full_size, times=1, rate_per_s=1.0, start=whole),
    ]
