"""The data folder: one owner at a time, stable ports, atomic writes.

The lock is an flock that the servers inherit: it is free when the owner and the last process that
could write to the data have ended, however they ended.
"""

import fcntl
import json
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle, islice
from pathlib import Path

import psutil

from kernel.embedded.errors import disk_full_error, port_taken_error
from kernel.errors import EmbeddedError

FREE_MIN_BYTES = 256 << 20  # WAL, a checkpoint and a few segments; with less a write may fail
ORPHANS_TIMEOUT_S = 15.0
CLOCK_STEP_S = 5.0  # start times depend on the system clock
# Below the ephemeral range: a client that retries a closed ephemeral port on loopback may get it
# as its own source port, connect to itself and keep the server from coming back.
PORTS = range(18000, 32000)


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.lock_fd = -1
        self._writing = threading.Lock()  # both servers start at once

    def open(self) -> None:
        """Lock the folder. Errors: in use, not writable, disk full, a comma in its path."""
        if "," in str(self.path):  # Kafka would read `log.dirs` as a list
            raise EmbeddedError(
                f"Kafka cannot use {self.path}. Choose a data folder without a comma in its path."
            )
        try:
            make_folder(self.path)
            self.lock_fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            reason = error.strerror or str(error)
            raise EmbeddedError(f"The data folder {self.path} cannot be used: {reason}.") from error
        try:
            self._acquire()
            if shutil.disk_usage(self.path).free < FREE_MIN_BYTES:
                raise disk_full_error(self.path)
            self.remember("owner", process_identity(os.getpid()))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1

    def _acquire(self) -> None:
        if self._try_lock():
            return
        owner = self.recall("owner")
        if owner and is_alive(owner):
            raise EmbeddedError(
                f"The data folder {self.path} is in use by process {owner[0]}. "
                "Stop it, or choose another data folder."
            )
        self._end_orphans()

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _end_orphans(self) -> None:
        """After the owner was killed: wait for its servers to end, or (without Linux) kill them."""
        deadline = time.monotonic() + ORPHANS_TIMEOUT_S
        while not self._try_lock():
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"The data folder {self.path} is still in use by servers of an earlier run. "
                    "Stop them, or choose another data folder."
                )
            for name in ("kafka", "postgres"):
                left = self.recall(name)
                if left and is_alive(left):
                    psutil.Process(int(left[0])).kill()
            time.sleep(0.05)

    def remember(self, key: str, value: object) -> None:
        with self._writing:
            state = {**self._state(), key: value}
            write_atomically(self.path / "embedded.json", json.dumps(state, indent=1))

    def recall(self, key: str) -> "list[float] | None":
        value = self._state().get(key)
        return value if isinstance(value, list) else None

    def _state(self) -> dict[str, object]:
        try:
            state = json.loads((self.path / "embedded.json").read_text())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def port(self, name: str, requested: int) -> int:
        """The requested port; for 0 that of the last run if it is free, else any free port."""
        if requested:
            if not is_free(requested):
                raise port_taken_error(name, requested)
            return requested
        last = self.recall(f"port.{name}")
        port = int(last[0]) if last and is_free(int(last[0])) else free_port()
        self.remember(f"port.{name}", [port])
        return port

    def create_once(self, name: str, make: Callable[[Path], None]) -> Path:
        """`<folder>/<name>`, created once; an unfinished one has another name and is recreated."""
        target, unfinished = self.path / name, self.path / f"{name}.unfinished"
        if not target.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(target)
            sync_folder(self.path)
        return target


def make_folder(path: Path) -> None:
    """A private folder. For root, PostgreSQL runs as another user, which must reach its
    subfolder."""
    path.mkdir(0o700 if os.geteuid() else 0o711, parents=True, exist_ok=True)


def process_identity(pid: int) -> list[float]:
    """A unique identity of a process: pids are reused, so it includes the start time."""
    return [pid, psutil.Process(pid).create_time()]


def is_alive(process: list[float]) -> bool:
    try:
        found = psutil.Process(int(process[0]))
        same = abs(found.create_time() - process[1]) < CLOCK_STEP_S
        return same and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@cache
def ports_in_turn(_process_id: int) -> Iterator[int]:
    """From a random place: a process never gets a port twice before somebody listens on it, and two
    processes, a fork too, seldom the same."""
    start = secrets.randbelow(len(PORTS))
    return cycle((*PORTS[start:], *PORTS[:start]))


def free_port() -> int:
    for port in islice(ports_in_turn(os.getpid()), 200):
        if is_free(port):
            return port
    raise EmbeddedError(
        f"No free port between {PORTS.start} and {PORTS.stop} on 127.0.0.1. Free one."
    )


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def write_atomically(path: Path, text: str, *, mode: int = 0o600) -> None:
    new = path.with_name(path.name + ".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
