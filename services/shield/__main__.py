"""`python -m services.shield` runs this service alone."""

import asyncio
import sys

import uvloop

from kernel import telemetry
from kernel.errors import BadSetting
from kernel.service import run
from kernel.settings import load
from services.shield.app import create
from services.shield.settings import Settings


async def main(settings: Settings) -> None:
    telemetry.start("shield", settings)
    await run([create(settings)])


if __name__ == "__main__":
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(load(Settings)))
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error
