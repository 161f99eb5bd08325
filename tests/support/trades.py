"""Work for a child: what a body says is done."""

import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from kernel.child_program import Work

KEPT: list[bytes] = []


def start(folder_path: bytes) -> Work:
    """folder_path: a folder, where it is noted what was done once."""
    folder = Path(folder_path.decode())
    deeds: dict[bytes, Callable[[], object]] = {
        b"spin": spin,
        b"take its time": lambda: spin(0.035),
        b"eat": lambda: b"x" * (200 << 20),
        b"hoard": lambda: KEPT.append(b"x" * (20 << 20)),
        b"eat too much": lambda: b"x" * (2 << 30),
        b"crash": crash,
        b"crash once": lambda: once(folder / "crashed", crash),
        b"raise": lambda: deeds[b"nothing"],
        b"say too much": lambda: b"x" * (2 << 20),
    }

    def do(body: bytes) -> bytes:
        name, _, _ = body.partition(b" #")
        done = deeds[name]() if name in deeds else b""
        return done if name == b"say too much" and isinstance(done, bytes) else body.upper()

    return lambda bodies: [do(each) for each in bodies]


def spin(cpu_s: float = math.inf) -> None:
    until = time.process_time() + cpu_s
    while time.process_time() < until:
        pass


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def once(mark: Path, deed: Callable[[], object]) -> None:
    if not mark.exists():
        mark.touch()
        deed()
