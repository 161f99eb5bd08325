"""What it takes to start somebody else's server: its program, root, a port that answers."""

import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping

Routes = Mapping[str, tuple[str, int]]  # recipient domain → address and port of its sink
READY_WITHIN_S = 90.0  # rspamd compiles its patterns first, beside whatever else runs


class NotInstalled(RuntimeError):
    """A peer, or something that it needs, is missing on this machine."""


def require(program: str, package: str) -> str:
    """The path of `program`; says what to install when it is not there."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        raise NotInstalled(f"{program} is not installed: `apt-get install {package}` and run again")
    return found


def require_root(what: str) -> None:
    if os.geteuid() != 0:
        raise NotInstalled(f"{what} starts as root only: run the bench as root, or leave it out")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def await_true(what: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not happen within {READY_WITHIN_S:.0f} s")
        time.sleep(0.1)
