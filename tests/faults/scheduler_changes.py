"""The scheduler changes again and again, with the counters of many tenants on record."""

import time
from collections.abc import Callable
from functools import partial

from cli.processes import Process
from tests.faults.replicas import LEASE_LOST_AFTER_S, second_replica
from tests.faults.world import PASSED_TIMEOUT_S, World, wait_until
from tests.support.accounts import add_webhook, change_tenant, create_account

COUNTED_TENANTS = 100_000
ALLOWED, OFFERED = 10, 12  # messages of one tenant for each change of the scheduler
INSERT_COUNTERS = b"""
INSERT INTO router.counters (cell, scope, window_key, value, expires_at)
SELECT 'default', 'tenant/' || gen_random_uuid(), name || '/' || floor(
    extract(epoch FROM now()) / bucket_s), 5, now() + interval '1 day'
FROM generate_series(1, %s), (VALUES ('per_hour', 300), ('per_day', 3600)) AS w (name, bucket_s)
"""


def scheduler_changes(world: World, times: int) -> None:
    """The scheduler is killed or paused while a tenant sends, and the other replica takes over: the
    daily limit of the tenant holds for all schedulers together."""
    with world.database() as connection:
        connection.execute(INSERT_COUNTERS, (COUNTED_TENANTS,))
    domain = f"limited{world.faults}.obm-sender.net"
    customer = create_account(world.environment, domain)
    change_tenant(world.environment, customer.tenant_id, per_day_max=ALLOWED * times)
    add_webhook(world.client.port, customer.api_key, world.webhook_url)
    recipients: list[str] = []
    takeovers_s = []
    with second_replica(world, "router") as second:
        replicas = (world.processes["router"], second)
        for turn in range(times):
            recipients += world.client.burst(customer.api_key, f"orders@{domain}", OFFERED)
            stop = kill if turn % 4 < 2 else pause
            takeovers_s.append(take_over(world, partial(stop, world, replicas[turn % 2])))
            check_limit(world, recipients, ALLOWED * times)
        all_allowed = partial(world.have_arrived, recipients, ALLOWED * times)
        wait_until(all_allowed, PASSED_TIMEOUT_S, "fewer messages than the daily limit")
        world.pause(times)
        check_limit(world, recipients, ALLOWED * times)
        change_tenant(world.environment, customer.tenant_id, per_day_max=0)
    world.notes.append(f"slowest takeover {max(takeovers_s):.1f} s")


def take_over(world: World, stop: Callable[[], Callable[[], None]]) -> float:
    """Stop the scheduler, and start it again once the other one works. Returns the seconds until a
    message that was sent after the stop has arrived."""
    start = stop()
    stopped_s = time.monotonic()
    [sent] = world.client.burst(world.client.key, world.client.sender, 1)
    wait_until(partial(world.have_arrived, [sent], 1), PASSED_TIMEOUT_S, "no takeover")
    took_s = time.monotonic() - stopped_s
    start()
    return took_s


def kill(world: World, process: Process) -> Callable[[], None]:
    process.kill()
    world.record_fault(process.name)

    def start() -> None:
        process.start()
        process.await_ready()

    return start


def pause(world: World, process: Process) -> Callable[[], None]:
    process.pause()
    world.record_fault(process.name)
    paused_s = time.monotonic()

    def resume() -> None:
        time.sleep(max(0.0, LEASE_LOST_AFTER_S - (time.monotonic() - paused_s)))
        process.resume()
        process.await_ready()

    return resume


def check_limit(world: World, recipients: list[str], limit: int) -> None:
    if (sent := world.count_arrivals(recipients)) > limit:
        raise AssertionError(f"{sent} sent with a daily limit of {limit}")
