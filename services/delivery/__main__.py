"""`python -m services.delivery` runs this service alone."""

import asyncio
import sys

from kernel import telemetry
from kernel.errors import BadSetting
from kernel.service import run
from kernel.settings import load
from services.delivery.app import create
from services.delivery.settings import Settings


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, where there is a wheel of it."""
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - it may be absent
    except ImportError:
        return asyncio.new_event_loop()
    return new_event_loop()


async def main() -> None:
    settings = load(Settings)
    telemetry.start("delivery", settings)
    await run([create(settings)])


if __name__ == "__main__":
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error
