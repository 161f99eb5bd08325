"""Two processes of router own a cell each, and are killed in turn."""

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus

import httpx

from cli.processes import Process
from contracts.router.v1 import policy_service_pb2 as pb
from services.router.domain.message import CELL
from tests.faults.pool_moves import OTHER, call, is_in, move
from tests.faults.replicas import second_replica
from tests.faults.world import PASSED_TIMEOUT_S, World, quiet_site, start_world, wait_until
from tests.support.accounts import add_webhook, change_tenant, create_account, keys_of_callers
from tests.support.forked_process import ForkedProcess

LIMIT = 60  # per day at a site, for both cells together
WITHIN_S = 300.0  # it only bounds a hang: the machine may be busy
SENDER_DOMAIN = "cells.obm-sender.net"
SOURCE = "127.0.0.91"
OWNERS = b"SELECT name, owner FROM router.leases WHERE name = ANY(%s) AND expires_at > now()"

# With the lease of a real installation.
start_with_cells = partial(start_world, more_settings={"OBM_LEASE_S": "10"}, process=ForkedProcess)


def kill_owners_of_cells(world: World, times: int) -> None:
    """Both cells have more mail for a site than its limit allows. Whoever takes over the cell of a
    process that was killed uses what is left of its share, and not more."""
    senders = {world.client.key: world.client.sender, add_other_cell(world): f"a@{SENDER_DOMAIN}"}
    first = world.processes["router"]
    with second_replica(world, first.name) as second:
        for turn in range(times):
            wait_until(partial(have_one_each, world), WITHIN_S, "one process has both")
            site = quiet_site(turn)
            set_limit(world, site, LIMIT)
            try:
                kill_at_the_limit(world, (second, first)[turn % 2], senders, site=site)
            finally:
                set_limit(world, site, 0)


def kill_at_the_limit(
    world: World, victim: Process, senders: Mapping[str, str], *, site: str
) -> None:
    recipients = burst(world, senders, site, partial(kill, world, victim))
    wait_until(
        partial(world.have_arrived, recipients, LIMIT),
        WITHIN_S,
        "fewer messages than the limit of the site",
    )
    victim.start()
    victim.await_ready()
    wait_until(partial(have_one_each, world), WITHIN_S, "one process has both")
    if (sent := world.count_arrivals(recipients)) != LIMIT:
        raise AssertionError(f"{sent} sent with a limit of {LIMIT}")


def add_other_cell(world: World) -> str:
    """A cell with a pool, a source and a tenant of its own. Returns the key of the tenant."""
    made = create_account(world.environment, SENDER_DOMAIN)
    add_webhook(world.client.port, made.api_key, world.webhook_url)
    pool_id = call(world.environment, "AddPool", pb.AddPoolRequest(name=OTHER)).pool.pool_id
    with world.database() as connection:
        connection.execute(
            b"INSERT INTO router.egress_sources (egress_id, pool_id, source_ip)"
            b" VALUES (gen_random_uuid(), %s, %s)",
            (pool_id, SOURCE),
        )
    call(world.environment, "AddCell", pb.AddCellRequest(cell=OTHER))
    move(world, OTHER, pool_id)
    wait_until(partial(is_in, world, OTHER, pool_id), PASSED_TIMEOUT_S, "the pool has not moved")
    change_tenant(world.environment, made.tenant_id, pool_id=pool_id)
    return made.api_key


def burst(
    world: World, senders: Mapping[str, str], site: str, fault: Callable[[], None]
) -> list[str]:
    """Twice as much mail as the site may get, from each sender, and a fault meanwhile. Returns the
    recipients."""
    recipients: list[str] = []

    def send(key: str, sender: str) -> None:
        domain = f"{site}.obm-faults.net"
        recipients.extend(world.client.burst(key, sender, 2 * LIMIT, domain=domain))

    threads = [threading.Thread(target=send, args=pair) for pair in senders.items()]
    for one in threads:
        one.start()
    time.sleep(world.random_delay_s(world.faults))
    fault()
    for one in threads:
        one.join()
    return recipients


def kill(world: World, victim: Process) -> None:
    """And note when the other process has its cell."""
    before = owners(world)
    victim.kill()
    world.record_fault(victim.name)
    killed_s = time.monotonic()
    wait_until(
        lambda: len(set(owners(world).values())) == 1 and len(owners(world)) == len(before),
        PASSED_TIMEOUT_S,
        "nobody has taken over the cell",
    )
    world.notes.append(f"taken over after {time.monotonic() - killed_s:.0f} s")


def owners(world: World) -> dict[str, str]:
    """By cell."""
    with world.database() as connection:
        rows = connection.execute(OWNERS, ([CELL, OTHER],)).fetchall()
    return {str(name): str(owner) for name, owner in rows}


def have_one_each(world: World) -> bool:
    return len(set(owners(world).values())) == len((CELL, OTHER))


def set_limit(world: World, site: str, per_day: int) -> None:
    """0: none."""
    key = keys_of_callers(world.environment)["limits"]
    body = {"scope": f"site/{site}", "per_day": per_day}
    url, headers = f"http://{world.client.listens[0]}/v1/limits", {"Authorization": f"Bearer {key}"}

    def is_set() -> bool:
        response = httpx.put(url, json=body, headers=headers, timeout=30)
        if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:  # the machine may be busy
            return False
        return response.raise_for_status().is_success

    wait_until(is_set, WITHIN_S, f"the limit of {site} is not set")
