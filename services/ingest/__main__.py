"""`python -m services.ingest`."""

import asyncio
import sys

import uvloop

from kernel import telemetry
from kernel.errors import BadSetting
from kernel.service import run
from kernel.settings import load
from services.ingest.app import create
from services.ingest.settings import Settings


async def main(settings: Settings) -> None:
    await run([create(settings)])


if __name__ == "__main__":
    try:
        known = load(Settings)
        telemetry.start("ingest", known)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(known))
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error
