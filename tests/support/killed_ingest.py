"""ingest in a process of its own, which a failpoint ends."""

import asyncio
import json
import os
import signal
from pathlib import Path

from kernel.content import open_store
from kernel.service import run_services
from services.ingest.app import create_service
from services.ingest.settings import Settings
from tests.support.forked_process import Fork, become


async def run_until_killed(settings: Settings, failpoint: str) -> None:
    """failpoint: for example `ingest.domain.written=kill`."""
    await open_store(settings.content_store_url).initialize()
    given = json.dumps(settings.model_dump(mode="json"))
    environment = {**os.environ, "OBM_FAILPOINTS": failpoint}
    killed = Fork(given, environment, Path(os.devnull), target=run_ingest)
    assert await asyncio.to_thread(killed.wait) == -signal.SIGKILL


def run_ingest(settings: str, environment: dict[str, str], log: Path) -> None:
    """In the fork. settings: as JSON."""
    become(environment, log)

    async def serve() -> None:
        await run_services([create_service(Settings(**json.loads(settings)))])

    asyncio.run(serve())
