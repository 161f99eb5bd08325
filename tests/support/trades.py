"""Work for a child: what a body says is done."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from kernel.child_program import Work

KEPT: list[bytes] = []


def start(folder_path: bytes) -> Work:
    """folder_path: a folder, where it is noted what was done once."""
    folder = Path(folder_path.decode())
    deeds: dict[bytes, Callable[[], object]] = {
        b"spin": spin,
        b"eat": lambda: b"x" * (200 << 20),
        b"hoard": lambda: KEPT.append(b"x" * (20 << 20)),
        b"eat too much": lambda: b"x" * (2 << 30),
        b"crash": crash,
        b"crash once": lambda: once(folder / "crashed", crash),
        b"raise": lambda: deeds[b"nothing"],
        b"say too much": lambda: b"x" * (2 << 20),
    }

    def work(body: bytes) -> bytes:
        name, _, _ = body.partition(b" #")
        done = deeds[name]() if name in deeds else b""
        return done if name == b"say too much" and isinstance(done, bytes) else body.upper()

    return work


def spin() -> None:
    while True:
        pass


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def once(mark: Path, deed: Callable[[], object]) -> None:
    if not mark.exists():
        mark.touch()
        deed()
