"""What can go wrong, one function each: it acts on a world under load and leaves it alive."""

import signal
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import TypeAlias

from cli.environment import SERVICES, Ports, listen_addresses
from cli.processes import Process
from tests.faults.broker import (
    kafka_away,
    kafka_wiped,
    kill_kafka,
    offsets_back,
    poison,
    told_again,
)
from tests.faults.lateness import (
    late_directory,
    no_content,
    no_locks,
    no_statements,
    slow_kafka,
)
from tests.faults.points import FREEZING_ROUNDS, POINTS
from tests.faults.reading import eat_memory
from tests.faults.stops import stop_in_turn, stop_together
from tests.faults.world import World, lines, wait_until
from tests.support.accounts import add_webhook, change_tenant, create_account

PASSED_WITHIN_S = 90.0  # the machine may be busy
LEASE_LOST_AFTER_S = 6.0  # longer than the leases of router and delivery
CAP = 50

Act: TypeAlias = Callable[[World, int], None]


@dataclass(frozen=True, slots=True)
class Scenario:
    """times: how often the full run does it; a quick one does it once or twice."""

    name: str
    act: Act
    times: int
    rate_per_s: float = 60.0
    audited: bool = False


def nothing(world: World, times: int) -> None:
    """The control: load and no fault, hence no flag and no copy."""
    time.sleep(2 + times)


@dataclass
class Doomed:
    """A process that dies at one place after the other."""

    process: Process
    ahead: deque[str]
    armed: str = ""

    def next(self) -> None:
        """Start again, armed with the next place if there is one."""
        self.armed = self.ahead.popleft() if self.ahead else ""
        self.process.start(OBM_FAILPOINTS=self.armed)

    def died(self, world: World) -> bool:
        """Whether it has died since the last look, as it should; then it goes on."""
        if self.process.running:
            return False
        if self.process.wait() != -signal.SIGKILL:
            raise AssertionError(f"ended by itself, armed with {self.armed}")
        world.fell(self.process.name)
        self.next()
        return True


def die_at(world: World, times: int, *, points: Sequence[str]) -> None:
    """Kill -9 at named places, each so often, at another pass each time. Services die beside each
    other, and come back at once: the others still need their work."""
    ahead: dict[str, deque[str]] = defaultdict(deque)
    for turn in range(times):
        for point in points:
            ahead[service_of(point)].append(f"{point}=kill@{1 + (turn * 7 + world.seed) % 12}")
    doomed = [Doomed(world.processes[name], arms) for name, arms in ahead.items()]
    for one in doomed:
        one.process.terminate()
        one.next()
    try:
        await_deaths(world, doomed)
    finally:
        for one in doomed:
            if one.armed:  # not to die later, when nobody looks
                world.kill(one.process.name)


def await_deaths(world: World, doomed: Sequence[Doomed]) -> None:
    """As long as any of them dies, the others may wait: they need each other's work."""
    died_at_s = time.monotonic()
    while armed := [one for one in doomed if one.armed]:
        if any(one.died(world) for one in armed):
            died_at_s = time.monotonic()
        elif time.monotonic() > died_at_s + PASSED_WITHIN_S:
            raise AssertionError(f"not passed in time: {', '.join(one.armed for one in armed)}")
        time.sleep(0.02)


def service_of(point: str) -> str:
    return point.partition(".")[0]


def kill_services(world: World, times: int, *, names: Sequence[str]) -> None:
    """Kill -9 at random moments, one after the other, without waiting for each to be back."""
    for turn in range(times):
        for name in names:
            world.pause(turn)
            world.kill(name)
            world.processes[name].start()
        for name in names:
            world.processes[name].await_ready()


def kill_postgres(world: World, times: int) -> None:
    for turn in range(times):
        world.pause(turn)
        world.kill_postgres()
        world.stack.postgres.start()
        world.note_data_sent()


def pause(world: World, times: int, *, names: Sequence[str]) -> None:
    """SIGSTOP at a random moment, for longer than a lease lives; then they wake up late."""
    for turn in range(times):
        world.pause(turn)
        for name in names:
            world.processes[name].pause()
            world.fell(name)
        time.sleep(LEASE_LOST_AFTER_S)
        resume(world, names)


def freeze_at(world: World, times: int, *, points: Sequence[str]) -> None:
    """SIGSTOP at named places, for longer than a lease lives."""
    frozen = {point: world.processes[service_of(point)] for point in points}
    for turn in range(times):
        for point, process in frozen.items():
            process.terminate()
            process.start(OBM_FAILPOINTS=f"{point}=stop@{3 + (turn * 5 + world.seed) % 12}")
        for point, process in frozen.items():
            wait_until(partial(is_frozen, process), PASSED_WITHIN_S, f"{point} was not passed")
            world.fell(process.name)
        time.sleep(LEASE_LOST_AFTER_S)
        resume(world, [process.name for process in frozen.values()])


def resume(world: World, names: Sequence[str]) -> None:
    for name in names:
        world.processes[name].resume()
    for name in names:
        world.processes[name].await_ready()


def is_frozen(process: Process) -> bool:
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:
        return stat.read().rpartition(") ")[2].startswith("T")


def successor(world: World, times: int, *, point: str) -> None:
    """Freeze the owner at a named place; a second process takes over its work and does it; then
    the first wakes up late."""
    first = world.processes[service_of(point)]
    for turn in range(times):
        first.terminate()
        first.start(OBM_FAILPOINTS=f"{point}=stop@{2 + (turn * 5 + world.seed) % 12}")
        wait_until(partial(is_frozen, first), PASSED_WITHIN_S, f"{point} was not passed")
        world.fell(first.name)
        with beside(world, first.name):
            time.sleep(LEASE_LOST_AFTER_S)
            first.resume()
            time.sleep(2)


def rebalance(world: World, times: int) -> None:
    """A second process of every service joins the groups under load, and is killed."""
    for turn in range(times):
        seconds = [replica(world, name) for name in SERVICES if name != "ingest"]
        for second in seconds:
            second.start()
        for second in seconds:
            second.await_ready()
        world.pause(turn)
        for second in seconds:
            second.kill()
            world.fell(second.name)


@contextmanager
def beside(world: World, name: str) -> Iterator[Process]:
    """A second process of a service, that nobody leaves behind."""
    second = replica(world, name)
    second.start()
    try:
        second.await_ready()
        yield second
    finally:
        second.terminate()


def replica(world: World, name: str) -> Process:
    """A second process of a service, on ports of its own."""
    own = {**world.environment, **listen_addresses(Ports.find_free())}
    theirs = {key: value for key, value in world.environment.items() if key.endswith("_ADDRESS")}
    return Process(name, {**own, **theirs}, world.folder / "logs" / f"{name}-second.log")


def capped(world: World, times: int) -> None:
    """The one who counts is killed in the middle of a burst, a second one takes over: together
    they let as many leave as the cap allows."""
    first = world.processes["router"]
    for turn in range(times):
        domain = f"capped{world.faults}.obm-sender.net"
        customer = create_account(world.environment, domain)
        change_tenant(world.environment, customer.tenant_id, per_day_max=CAP)
        add_webhook(world.client.port, customer.api_key, world.webhook_url)
        with beside(world, first.name):
            killer = threading.Timer(world.moment_s(turn), world.kill, (first.name,))
            killer.start()
            recipients = world.client.burst(customer.api_key, f"orders@{domain}", 4 * CAP)
            killer.join()
            least = partial(arrived, world, recipients, CAP)
            wait_until(least, PASSED_WITHIN_S, "less than the cap")
            first.start()
            first.await_ready()
            world.pause(turn)
            if (left := arrivals(world, recipients)) != CAP:
                raise AssertionError(f"{left} left under a cap of {CAP}")
            change_tenant(world.environment, customer.tenant_id, per_day_max=0)


def arrived(world: World, recipients: Collection[str], number: int) -> bool:
    return arrivals(world, recipients) >= number


def arrivals(world: World, recipients: Collection[str]) -> int:
    """How many of them the sink has seen."""
    return len({line["recipient"] for line in lines(world.folder / "sink.jsonl")} & {*recipients})


def rounds(points: Sequence[str]) -> list[tuple[str, ...]]:
    """One point of each service at a time, until all have had their turn."""
    by_service: dict[str, list[str]] = {}
    for point in points:
        by_service.setdefault(service_of(point), []).append(point)
    return [
        tuple(point for point in column if point) for column in zip_longest(*by_service.values())
    ]


def _all() -> list[Scenario]:
    at_points = [
        Scenario(f"die at {', '.join(points)}", partial(die_at, points=points), times=20)
        for points in rounds(POINTS)
    ]
    frozen_at = [
        Scenario(f"freeze at {', '.join(points)}", partial(freeze_at, points=points), times=5)
        for points in FREEZING_ROUNDS
    ]
    return [
        Scenario("nothing", nothing, times=10),
        *at_points,
        Scenario("kill services", partial(kill_services, names=SERVICES), times=20),
        Scenario("kill kafka", kill_kafka, times=20),
        Scenario("kill postgres", kill_postgres, times=20),
        Scenario("pause", partial(pause, names=("router", "delivery", "events")), times=5),
        *frozen_at,
        *(
            Scenario(f"successor at {point}", partial(successor, point=point), times=3)
            for point in ("router.tick.in_transaction", "delivery.body_sent")
        ),
        Scenario("capped", capped, times=5),
        Scenario("offsets back", offsets_back, times=5),
        Scenario("told again", told_again, times=10),
        Scenario("rebalance", rebalance, times=5),
        Scenario("kafka away", kafka_away, times=12),
        Scenario("kafka wiped", kafka_wiped, times=3, audited=True),
        Scenario("poison", poison, times=20),
        Scenario("eat memory", eat_memory, times=10),
        Scenario("stop together", stop_together, times=10),
        # Mail needs all five, and one is away for most of the time.
        Scenario("stop in turn", stop_in_turn, times=10, rate_per_s=20.0),
        Scenario("late directory", late_directory, times=2),
        Scenario("no content", no_content, times=5),
        Scenario("slow kafka", slow_kafka, times=10),
        Scenario("no locks", no_locks, times=5),
        Scenario("no statements", no_statements, times=10),
    ]


SCENARIOS = {scenario.name: scenario for scenario in _all()}


# What another quick scenario does as well: those that die everywhere, are frozen inside their work,
# lose Kafka for longer, and stop together.
SHOWN_ELSEWHERE = {"kill services", "pause", "kill kafka", "stop in turn"}


def quick() -> dict[str, Scenario]:
    """Each once, for every run of the tests: the places to die at in one go."""
    everywhere = Scenario("die everywhere", partial(die_at, points=POINTS), times=1)
    others = [
        one
        for one in SCENARIOS.values()
        if not one.name.startswith("die at") and one.name not in SHOWN_ELSEWHERE
    ]
    return {one.name: replace(one, times=1) for one in (everywhere, *others)}
