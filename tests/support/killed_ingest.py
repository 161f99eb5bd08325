"""ingest in a process of its own, which a failpoint ends."""

import asyncio
import json
import os
import signal
import sys

from kernel.content import open_store
from services.ingest.settings import Settings

PROCESS = """
import asyncio, json, sys
from kernel.service import run_services
from services.ingest.app import create_service
from services.ingest.settings import Settings
async def main():
    await run_services([create_service(Settings(**json.loads(sys.argv[1])))])
asyncio.run(main())
"""


async def run_until_killed(settings: Settings, failpoint: str) -> None:
    """failpoint: for example `ingest.domain.written=kill`."""
    await open_store(settings.content_store_url).initialize()
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, json.dumps(settings.model_dump(mode="json")),
        env={**os.environ, "OBM_FAILPOINTS": failpoint},
    )  # fmt: skip
    assert await killed.wait() == -signal.SIGKILL
