"""The events service as a process of its own, which a test can kill."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from kernel.embedded.folder import free_port
from kernel.rpc import RpcClient
from tests.support.events import TOKEN, ScenarioRunner
from tests.support.forked_process import ForkedProcess
from tests.support.keys import SECRET_KEY


def environment_of(runner: ScenarioRunner) -> dict[str, str]:
    """With the database and the topics of the runner."""
    return {
        "OBM_KAFKA_BOOTSTRAP_SERVERS": runner.bootstrap_servers,
        "OBM_KAFKA_TOPIC_PREFIX": runner.prefix,
        "OBM_SECRET_KEYS": SECRET_KEY,
        "OBM_RPC_TOKEN": TOKEN,
        "OBM_OUTBOX_SWEEP_AFTER_S": "1",
        "EVENTS_SYSTEM_DATABASE_URL": runner.database.system("events"),
        "EVENTS_TENANT_DATABASE_URL": runner.database.tenant("events"),
        "EVENTS_RPC_LISTEN": f"127.0.0.1:{free_port()}",
        "EVENTS_HEALTH_LISTEN": f"127.0.0.1:{free_port()}",
    }


@contextmanager
def process_of(environment: dict[str, str], folder: Path, **extra: str) -> Iterator[ForkedProcess]:
    """It is killed at the end. extra: environment variables of this run only."""
    process = ForkedProcess("events", environment, folder / "events.log")
    process.start(**extra)
    try:
        yield process
    finally:
        process.kill()


@asynccontextmanager
async def peer_of(process: ForkedProcess) -> AsyncIterator[RpcClient]:
    """A client of the process, when it serves. Raises RuntimeError with its log if it ends
    before."""
    peer = RpcClient("events", process.environment["EVENTS_RPC_LISTEN"], TOKEN)
    try:
        serving = asyncio.ensure_future(peer.channel.channel_ready())
        while not (await asyncio.wait([serving], timeout=1))[0]:
            if not process.running:
                raise RuntimeError(process.log.read_text()[-4_000:])
        yield peer
    finally:
        serving.cancel()
        await peer.close()
