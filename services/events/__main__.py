"""`python -m services.events` runs this service alone."""

import asyncio
import sys

from kernel import telemetry
from kernel.errors import BadSetting
from kernel.service import run
from kernel.settings import load
from services.events.app import create
from services.events.settings import Settings


async def main(settings: Settings) -> None:
    await run([create(settings)])


def start() -> None:
    try:
        settings = load(Settings)
        telemetry.start("events", settings)
        run_loop(settings)
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error


def run_loop(settings: Settings) -> None:
    try:
        import uvloop  # noqa: PLC0415 - faster where there is one
    except ImportError:
        asyncio.run(main(settings))
    else:
        uvloop.run(main(settings))


if __name__ == "__main__":
    start()
