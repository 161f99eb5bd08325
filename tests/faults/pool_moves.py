"""A pool moves to another cell and back, and the process that passes it over is killed."""

import asyncio
import signal
from collections.abc import Mapping
from functools import partial
from typing import Any

from google.protobuf.message import Message

from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.policy_service_pb2_grpc import PolicyServiceStub
from kernel.rpc import RpcClient
from services.router.domain.message import CELL
from services.router.domain.policies import DEFAULT_POOL
from tests.faults.world import PASSED_TIMEOUT_S, World, wait_until

MOVE_POINTS = ("router.move.in_transaction", "router.move.committed")
OTHER = "other"
RPC_TIMEOUT_S = 30.0


def kill_while_a_pool_moves(world: World, times: int) -> None:
    """Mail flows all the time. What the kill has undone, the next process does."""
    router = world.processes["router"]
    call(world.environment, "AddCell", pb.AddCellRequest(cell=OTHER))
    try:
        for turn in range(times):
            target = (OTHER, CELL)[turn % 2]
            router.terminate()
            router.start(OBM_FAILPOINTS=f"{MOVE_POINTS[turn // 2 % 2]}=kill@1")
            router.await_ready()
            world.pause(turn)
            move(world, target)
            wait_until(lambda: not router.running, PASSED_TIMEOUT_S, "the pool has not moved")
            if router.wait() != -signal.SIGKILL:
                raise AssertionError("exited by itself")
            world.record_fault("router")
            router.start()
            router.await_ready()
            wait_until(partial(is_in, world, target), PASSED_TIMEOUT_S, "the pool has not moved")
    finally:
        if router.running:
            world.kill("router")
        router.start()
        router.await_ready()
        move(world, CELL)
        wait_until(partial(is_in, world, CELL), PASSED_TIMEOUT_S, "the pool has not moved back")
        forget(world)


def move(world: World, cell: str, pool_id: str = DEFAULT_POOL) -> None:
    call(world.environment, "ChangePool", pb.ChangePoolRequest(pool_id=pool_id, cell=cell))


def is_in(world: World, cell: str, pool_id: str = DEFAULT_POOL) -> bool:
    with world.database() as connection:
        found = connection.execute(
            b"SELECT cell, moves_to FROM router.pools WHERE pool_id = %s", (pool_id,)
        )
        return found.fetchall() == [(cell, None)]


def forget(world: World) -> None:
    """Remove the other cell, for the scenarios that follow. An installation keeps those it has."""
    world.processes["router"].terminate()
    with world.database() as connection:
        connection.execute(b"UPDATE router.queues SET cell = %s", (CELL,))
        connection.execute(b"UPDATE router.messages SET cell = %s WHERE cell = %s", (CELL, OTHER))
        connection.execute(b"UPDATE router.results SET cell = %s", (CELL,))
        connection.execute(b"DELETE FROM router.cells WHERE cell = %s", (OTHER,))
    world.processes["router"].start()
    world.processes["router"].await_ready()


def call(environment: Mapping[str, str], method: str, request: Message) -> Any:  # noqa: ANN401
    """The response of an RPC of router."""

    async def send() -> Any:  # noqa: ANN401

        token = environment["OBM_RPC_TOKEN"]
        client = RpcClient("router", environment["ROUTER_RPC_ADDRESS"], token)
        try:
            stub = getattr(PolicyServiceStub(client.channel), method)
            return await client.call(stub, request, deadline_s=RPC_TIMEOUT_S)
        finally:
            await client.close()

    return asyncio.run(send())
