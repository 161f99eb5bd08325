"""The fault scenarios: each injects a fault into a world under load, and leaves it running."""

import random
import signal
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

from cli.environment import SERVICES
from cli.processes import Process
from tests.faults import slow_dependencies as slow
from tests.faults.broker import (
    kill_kafka,
    poison,
    repeat_records,
    rewind_offsets,
    stop_kafka,
    wipe_kafka,
)
from tests.faults.campaigns import campaign_scenarios
from tests.faults.cluster.scenarios import cluster_scenarios
from tests.faults.day_two import day_two_scenarios
from tests.faults.failpoints import FAILPOINTS, FREEZE_ROUNDS, LEARNER_POINTS, REACTION_FAILPOINTS
from tests.faults.parser_memory import exhaust_memory
from tests.faults.pool_moves import kill_while_a_pool_moves
from tests.faults.reactions import HITS, RETURNED, Act, stop_servers, under_reactions
from tests.faults.replicas import LEASE_LOST_AFTER_S, new_replica, second_replica
from tests.faults.scenario import InjectFault, Scenario
from tests.faults.scheduler_changes import scheduler_changes
from tests.faults.shutdown import stop_in_turn, stop_together
from tests.faults.submission import kill_under_submission
from tests.faults.world import PASSED_TIMEOUT_S, World, wait_until
from tests.support.accounts import add_webhook, change_tenant, create_account

DAILY_LIMIT = 50
STOP_SERVERS = "stop postgres and kafka under reactions"


def no_fault(world: World, times: int) -> None:
    """The control: load without a fault, so without flags and duplicates."""
    time.sleep(2 + times)


@dataclass
class CrashingProcess:
    """A process that is killed at one failpoint after another."""

    process: Process
    remaining: deque[str]
    armed: str = ""

    def start_next(self) -> None:
        """Start the process with the next failpoint, if there is one."""
        self.armed = self.remaining.popleft() if self.remaining else ""
        self.process.start(OBM_FAILPOINTS=self.armed)

    def restart_if_killed(self, world: World) -> bool:
        """True if the failpoint has killed the process, which is then started again."""
        if self.process.running:
            return False
        if self.process.wait() != -signal.SIGKILL:
            raise AssertionError(f"exited by itself with failpoint {self.armed}")
        world.record_fault(self.process.name)
        self.start_next()
        return True


def crash_at(world: World, times: int, *, points: Sequence[str]) -> None:
    """Kill -9 at failpoints, at another pass each time. Services crash in parallel and are
    restarted at once, because the others need their work."""
    remaining: dict[str, deque[str]] = defaultdict(deque)
    for turn in range(times):
        for point in points:
            remaining[service_of(point)].append(f"{point}=kill@{1 + (turn * 7 + world.seed) % 12}")
    crashing = [CrashingProcess(world.processes[name], arms) for name, arms in remaining.items()]
    for one in crashing:
        one.process.terminate()
        one.start_next()
    try:
        await_crashes(world, crashing)
    finally:
        for one in crashing:
            if one.armed:  # it must not crash in a later scenario
                world.kill(one.process.name)


def await_crashes(world: World, crashing: Sequence[CrashingProcess]) -> None:
    """Each crash extends the time for the others, because services need each other's work."""
    crashed_at_s = time.monotonic()
    while armed := [one for one in crashing if one.armed]:
        if any(one.restart_if_killed(world) for one in armed):
            crashed_at_s = time.monotonic()
        elif time.monotonic() > crashed_at_s + PASSED_TIMEOUT_S:
            raise AssertionError(f"not passed in time: {', '.join(one.armed for one in armed)}")
        time.sleep(0.02)


def service_of(point: str) -> str:
    return point.partition(".")[0]


def kill_services(world: World, times: int, *, names: Sequence[str]) -> None:
    """Kill -9 at random moments, one service after the other, without waiting for readiness."""
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
        world.record_data_sent()


def pause(world: World, times: int, *, names: Sequence[str]) -> None:
    """SIGSTOP at a random moment, for longer than a lease; then resume."""
    for turn in range(times):
        world.pause(turn)
        for name in names:
            world.processes[name].pause()
            world.record_fault(name)
        time.sleep(LEASE_LOST_AFTER_S)
        resume(world, names)


def freeze_at(world: World, times: int, *, points: Sequence[str]) -> None:
    """SIGSTOP at failpoints, for longer than a lease; then resume."""
    frozen = {point: world.processes[service_of(point)] for point in points}
    for turn in range(times):
        for point, process in frozen.items():
            process.terminate()
            process.start(OBM_FAILPOINTS=f"{point}=stop@{3 + (turn * 5 + world.seed) % 12}")
        for point, process in frozen.items():
            wait_until(partial(is_frozen, process), PASSED_TIMEOUT_S, f"{point} was not passed")
            world.record_fault(process.name)
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


def failover(world: World, times: int, *, point: str) -> None:
    """Freeze a process at a failpoint; a second replica takes over its work; then the first one
    resumes."""
    first = world.processes[service_of(point)]
    for turn in range(times):
        first.terminate()
        first.start(OBM_FAILPOINTS=f"{point}=stop@{2 + (turn * 5 + world.seed) % 12}")
        wait_until(partial(is_frozen, first), PASSED_TIMEOUT_S, f"{point} was not passed")
        world.record_fault(first.name)
        with second_replica(world, first.name):
            time.sleep(LEASE_LOST_AFTER_S)
            first.resume()
            time.sleep(2)


def rebalance(world: World, times: int) -> None:
    """A second replica of every service joins the groups under load, and is killed."""
    for turn in range(times):
        replicas = [new_replica(world, name) for name in SERVICES if name != "ingest"]
        for replica in replicas:
            replica.start()
        for replica in replicas:
            replica.await_ready()
        world.pause(turn)
        for replica in replicas:
            replica.kill()
            world.record_fault(replica.name)


def daily_limit_at_failover(world: World, times: int) -> None:
    """The scheduler is killed during a burst and a second replica takes over: together they must
    assign exactly as many messages as the daily limit allows."""
    first = world.processes["router"]
    for turn in range(times):
        domain = f"limited{world.faults}.obm-sender.net"
        customer = create_account(world.environment, domain)
        change_tenant(world.environment, customer.tenant_id, per_day_max=DAILY_LIMIT)
        add_webhook(world.client.port, customer.api_key, world.webhook_url)
        with second_replica(world, first.name):
            killer = threading.Timer(world.random_delay_s(turn), world.kill, (first.name,))
            killer.start()
            recipients = world.client.burst(customer.api_key, f"orders@{domain}", 4 * DAILY_LIMIT)
            killer.join()
            limit_reached = partial(world.have_arrived, recipients, DAILY_LIMIT)
            wait_until(limit_reached, PASSED_TIMEOUT_S, "fewer messages than the daily limit")
            first.start()
            first.await_ready()
            world.pause(turn)
            if (sent := world.count_arrivals(recipients)) != DAILY_LIMIT:
                raise AssertionError(f"{sent} sent with a daily limit of {DAILY_LIMIT}")
            change_tenant(world.environment, customer.tenant_id, per_day_max=0)


def random_faults(world: World, times: int) -> None:
    """One fault of any kind after the other, in the order that the seed gives."""
    chance = random.Random(world.seed)
    kinds: list[InjectFault] = [kill_kafka, kill_postgres, rewind_offsets, repeat_records]
    kinds += [partial(kill_services, names=(name,)) for name in SERVICES]
    kinds += [partial(pause, names=(name,)) for name in ("router", "delivery", "events")]
    for _ in range(times):
        chance.choice(kinds)(world, 1)


def rounds(points: Sequence[str]) -> list[tuple[str, ...]]:
    """Failpoints that are armed together: one of each service in each round."""
    by_service: dict[str, list[str]] = {}
    for point in points:
        by_service.setdefault(service_of(point), []).append(point)
    return [
        tuple(point for point in column if point) for column in zip_longest(*by_service.values())
    ]


def _kills() -> list[Scenario]:
    return [
        Scenario("kill services", partial(kill_services, names=SERVICES), times=20),
        Scenario("kill ingest under submission", kill_under_submission, times=100),
        Scenario("kill kafka", kill_kafka, times=20),
        Scenario("kill postgres", kill_postgres, times=20),
    ]


def faults_under_reactions() -> list[Scenario]:
    """Bounces, complaints, opens, clicks and unsubscriptions arrive meanwhile."""

    def under(fault: InjectFault, *acts: Act) -> InjectFault:
        return partial(under_reactions, inject_fault=fault, acts=acts or tuple(Act))

    recorded, counted = "delivery.return_path.recorded", "events.tracking.in_transaction"
    kill_delivery = under(partial(kill_services, names=("delivery",)), *RETURNED)
    kill_events = under(partial(kill_services, names=("events",)), *HITS)
    crash = under(partial(crash_at, points=REACTION_FAILPOINTS))
    return [
        Scenario("kill delivery under reports", kill_delivery, times=50),
        Scenario("kill events under hits", kill_events, times=50),
        Scenario("crash under reactions", crash, times=10),
        *(
            Scenario(f"freeze at {point}", under(partial(freeze_at, points=(point,))), times=5)
            for point in (recorded, counted)
        ),
        *(
            Scenario(f"failover at {point}", under(partial(failover, point=point)), times=3)
            for point in (recorded, counted)
        ),
        Scenario("kill postgres under reactions", under(kill_postgres), times=20),
        Scenario("stop kafka under reactions", under(stop_kafka), times=6),
        Scenario(STOP_SERVERS, stop_servers, times=6),
    ]


def single_faults() -> list[Scenario]:
    at_points = [
        Scenario(f"crash at {', '.join(points)}", partial(crash_at, points=points), times=20)
        for points in rounds(FAILPOINTS)
    ]
    frozen_at = [
        Scenario(f"freeze at {', '.join(points)}", partial(freeze_at, points=points), times=5)
        for points in FREEZE_ROUNDS
    ]
    return [
        Scenario("no fault", no_fault, times=10),
        *at_points,
        *_kills(),
        Scenario("pause", partial(pause, names=("router", "delivery", "events")), times=5),
        *frozen_at,
        *(
            Scenario(f"failover at {point}", partial(failover, point=point), times=3)
            for point in ("router.tick.in_transaction", "delivery.body_sent")
        ),
        *faults_under_reactions(),
        Scenario("daily limit at failover", daily_limit_at_failover, times=5),
        Scenario("scheduler changes", scheduler_changes, times=100, rate_per_s=20.0),
        Scenario("kill while a pool moves", kill_while_a_pool_moves, times=20, rate_per_s=20.0),
        Scenario("random faults", random_faults, times=100, rate_per_s=20.0),
        Scenario("rewind offsets", rewind_offsets, times=5),
        Scenario("repeat records", repeat_records, times=10),
        Scenario("rebalance", rebalance, times=5),
        Scenario("stop kafka", stop_kafka, times=12),
        Scenario("wipe kafka", wipe_kafka, times=3, audited=True),
        Scenario("poison", poison, times=20),
        Scenario("exhaust memory", exhaust_memory, times=10),
        Scenario("stop together", stop_together, times=10),
        # A message needs all five services, and one is down most of the time.
        Scenario("stop in turn", stop_in_turn, times=10, rate_per_s=20.0),
        Scenario("slow directory", slow.slow_directory, times=2),
        Scenario("content store outage", slow.content_store_outage, times=5),
        Scenario("slow kafka", slow.slow_kafka, times=10),
        Scenario("lock timeouts", slow.lock_timeouts, times=5),
        Scenario("cancel statements", slow.cancel_statements, times=10),
    ]


UNDER_CAMPAIGNS: dict[str, InjectFault] = {
    "crash the learner": partial(crash_at, points=LEARNER_POINTS),
    "failover of the learner": partial(failover, point=LEARNER_POINTS[0]),
    "kill shield, router, events": partial(kill_services, names=("shield", "router", "events")),
    "kill postgres": kill_postgres,
}
CAMPAIGNS = campaign_scenarios(UNDER_CAMPAIGNS)
EVERY = (*single_faults(), *cluster_scenarios(), *day_two_scenarios(), *CAMPAIGNS)
SCENARIOS = {scenario.name: scenario for scenario in EVERY}
