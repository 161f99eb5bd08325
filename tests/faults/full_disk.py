"""Disks that are full for a while: that of the content store, and that of the servers."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.faults.world import World, start_world, wait_until
from tests.support.forked_process import ForkedProcess

# Of the content store, and of both servers: their WAL and their segments, with little to spare.
SIZES_MB = {"content": 64, "stack": 1_500}
FULL_S = 15.0
ALMOST = 0.95  # ingest accepts nothing beyond 90 %
SILENT_S = 5.0
WITHIN_S = 120.0


@contextmanager
def start_on_small_disks(
    folder: Path, *, seed: int, rate_per_s: float, audited: bool = False
) -> Iterator[World]:
    """As `start_world`, with file systems of their own. Only root can mount them."""
    if os.geteuid() != 0:
        raise RuntimeError("Only root can mount small file systems. Run as root.")
    with ExitStack() as stack:
        for name, size in SIZES_MB.items():
            stack.enter_context(mounted(folder / name, size))
        world = start_world(
            folder, seed=seed, rate_per_s=rate_per_s, audited=audited, process=ForkedProcess
        )
        yield stack.enter_context(world)


@contextmanager
def mounted(folder: Path, size_mb: int) -> Iterator[None]:
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=755", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disks(world: World, times: int) -> None:
    """The content store almost full, and completely; then the servers' disk."""
    for turn in range(times):
        world.pause(turn)
        for share in (ALMOST, 1.0):
            with full(world, ["content"], share):
                wait_until(
                    partial(accepts_nothing, world), WITHIN_S, "mail is accepted on a full disk"
                )
                time.sleep(FULL_S)
            await_accepts(world)
        with full(world, ["stack"], 1.0):
            time.sleep(FULL_S)
        for server in (world.stack.postgres, world.stack.kafka):
            if not server.running:
                world.notes.append(f"{type(server).__name__} ended")
                server.start()
        world.record_data_sent()
        await_accepts(world)


@contextmanager
def full(world: World, names: Sequence[str], share: float) -> Iterator[None]:
    """Fill these file systems up to a share of their size."""
    world.faults += 1
    world.record_data_sent()
    ballast = [world.folder / name / "ballast" for name in names]
    for one in ballast:
        fill(one, share)
    try:
        yield
    finally:
        for one in ballast:
            one.unlink()


def fill(path: Path, share: float) -> None:
    """Write a file that leaves 1 - share of the file system, while others write too."""
    disk = os.statvfs(path.parent)
    left = step = disk.f_bavail - int(disk.f_blocks * (1 - share))
    with path.open("wb") as file:
        while (step := min(step, left)) > 0:
            end = file.seek(0, os.SEEK_END)
            try:
                os.posix_fallocate(file.fileno(), end, step * disk.f_frsize)
                left -= step
            except OSError:
                step //= 2


def accepts_nothing(world: World) -> bool:
    before = len(world.client.accepted)
    time.sleep(SILENT_S)
    return len(world.client.accepted) == before


def await_accepts(world: World) -> None:
    before = len(world.client.accepted)
    wait_until(
        lambda: len(world.client.accepted) > before,
        WITHIN_S,
        "nothing was accepted after the disk had room again",
    )
