"""Helpers to start other mail servers."""

import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping

Routes = Mapping[str, tuple[str, int]]  # recipient domain → address and port of its sink
READY_WITHIN_S = 90.0  # rspamd compiles its patterns first


class NotInstalled(RuntimeError):
    """A peer or one of its dependencies is missing on this machine."""


def require(program: str, package: str) -> str:
    """The path of `program`. Raises NotInstalled."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        raise NotInstalled(
            f"{program} is not installed. Run `apt-get install {package}` and try again."
        )
    return found


def require_root(what: str) -> None:
    if os.geteuid() != 0:
        raise NotInstalled(
            f"{what} can be started by root only. Run the bench as root, or without this peer."
        )


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
            raise RuntimeError(f"{what}: not reached within {READY_WITHIN_S:.0f} s")
        time.sleep(0.1)
