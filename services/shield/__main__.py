"""`python -m services.shield` runs this service alone."""

import asyncio
import ctypes
import sys

import uvloop

from kernel import telemetry
from kernel.errors import BadSetting
from kernel.service import run
from kernel.settings import load
from services.shield.app import create
from services.shield.settings import Settings

# mallopt(3): what may stay free at the top of the heap, and what gets pages of its own.
M_TRIM_THRESHOLD, TRIM_BYTES = -1, 16 << 20
M_MMAP_THRESHOLD, MMAP_BYTES = -3, 4 << 20


def keep_memory() -> None:
    """A page of HTML takes half a megabyte while it is read. Left alone, glibc gives that back to
    the system after each message and asks for it anew, which takes longer than parsing does."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc has it
        mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
        mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)


async def main(settings: Settings) -> None:
    keep_memory()
    telemetry.start("shield", settings)
    await run([create(settings)])


if __name__ == "__main__":
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(load(Settings)))
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error
