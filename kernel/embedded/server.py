"""A server process of the embedded stack, which dies with its parent: start, stop, kill, pause."""

import os
import pwd
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil

from kernel.embedded.errors import explain_exit
from kernel.embedded.folder import Folder, process_identity
from kernel.errors import EmbeddedError

PARENT_DEATH = Path(__file__).with_name("parent_death.py")
LOG_BYTES_MAX = 8 << 20
POLL_S = 0.02
START_TIMEOUT = "OBM_START_TIMEOUT_S"
# The death signal is sent when the thread that started the process ends, so one thread that lives
# as long as this process starts all servers.
_spawner = ThreadPoolExecutor(1, "embedded-spawner")


def read_start_timeout_s() -> float:
    """Raises EmbeddedError."""
    given = os.environ.get(START_TIMEOUT, "60")
    try:
        return float(given)
    except ValueError:
        raise EmbeddedError(f"{START_TIMEOUT} is {given!r}. Set it to seconds.") from None


@dataclass(frozen=True, slots=True)
class SystemUser:
    """The user a server runs as. reach: it must traverse folders that are closed to it."""

    uid: int
    gid: int
    reach: bool = False


def current_user() -> SystemUser:
    return SystemUser(os.geteuid(), os.getegid())


def unprivileged_user(*paths: Path) -> SystemUser:
    """The current user; for root, which PostgreSQL rejects, the data's owner or an unprivileged
    user."""
    if os.geteuid() != 0:
        return current_user()
    owner = next((path.stat().st_uid for path in paths if path.exists()), 0)
    entry = pwd.getpwuid(owner) if owner else user_by_name("postgres") or user_by_name("nobody")
    if entry is None:
        raise EmbeddedError("PostgreSQL cannot run as root. Add a user named nobody.")
    return SystemUser(entry.pw_uid, entry.pw_gid, reach=not all(map(is_reachable_by_all, paths)))


def user_by_name(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def is_reachable_by_all(path: Path) -> bool:
    """Whether every user can reach the path's folder."""
    return all(parent.stat().st_mode & 0o001 for parent in path.parents if parent.exists())


class ManagedServer(ABC):
    """A server of the embedded stack. `start` also restarts it after `kill` or `stop`."""

    name: ClassVar[str]
    title: ClassVar[str]
    stop_signals: ClassVar[Sequence[signal.Signals]]  # the gentlest first
    death_signal: ClassVar[signal.Signals]  # sent when this process dies
    stop_timeout_s: ClassVar[float] = 10.0

    def __init__(self, folder: Folder, *, port: int = 0) -> None:
        self.folder = folder
        self.wanted_port = port
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def log(self) -> Path:
        return self.folder.path / f"{self.name}.log"

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @abstractmethod
    def create_data(self) -> None:
        """Create the data if it does not exist."""

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def is_ready(self) -> bool: ...

    def user(self) -> SystemUser:
        return current_user()

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def start(self) -> None:
        """Prepare, start and wait until ready. Raises EmbeddedError."""
        if self.running:
            return
        self.port = self.folder.port(self.title, self.port or self.wanted_port)
        self.create_data()
        self.launch()
        self.wait()

    def launch(self) -> None:
        self._rotate_log()
        spawning = _spawner.submit(
            self.spawn, self.command(), self.death_signal, stdin=subprocess.DEVNULL
        )
        self.process = spawning.result()
        self.folder.remember(self.name, process_identity(self.process.pid))

    def spawn(
        self, command: Sequence[str], death_signal: signal.Signals, *, stdin: int
    ) -> "subprocess.Popen[bytes]":
        user = self.user()
        arguments = [os.getpid(), int(death_signal), user.uid, user.gid, user.reach]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(PARENT_DEATH), *map(str, arguments), *command],
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                cwd="/",
                pass_fds=(self.folder.lock_fd,),
                start_new_session=True,  # Ctrl-C reaches only this process
            )

    def run_tool(self, command: Sequence[str], *, stdin: str = "") -> None:
        """Run a one-shot program, such as initdb, that dies with this process and writes to the
        same log."""
        since = self._log_size()
        tool = self.spawn(command, signal.SIGKILL, stdin=subprocess.PIPE)
        tool.communicate(stdin.encode())
        if tool.returncode != 0:
            raise explain_exit(self.title, self.port, self.log, since=since)

    def wait(self) -> None:
        timeout_s = read_start_timeout_s()
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            if not self.running:
                raise explain_exit(self.title, self.port, self.log, since=self._log_start)
            if time.monotonic() > deadline:
                self.kill()
                raise EmbeddedError(
                    f"{self.title} was not ready in {timeout_s:.0f} s. See {self.log}."
                    f" On a slow machine, set {START_TIMEOUT} to more seconds."
                )
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Send the stop signals in turn, then kill; the server has ended afterwards."""
        if self.process is None:
            return
        self.resume()
        for signum in self.stop_signals:
            self._signal(signum)
            try:
                self.process.wait(self.stop_timeout_s)
                return
            except subprocess.TimeoutExpired:
                continue
        self.kill()

    def kill(self) -> None:
        """kill -9 of the whole process tree, as at a power loss."""
        tree = self._tree()
        self._signal(signal.SIGKILL)  # the parent first, so that it starts no new child
        for process in tree[1:]:
            ignore_if_gone(process.kill)
        if self.process is not None:
            self.process.wait()
        while any(map(is_alive, tree[1:])):  # until then they hold the data
            time.sleep(POLL_S)

    def pause(self) -> None:
        """SIGSTOP: the server keeps its sockets but does not respond."""
        for process in self._tree():
            ignore_if_gone(process.suspend)

    def resume(self) -> None:
        for process in self._tree():
            ignore_if_gone(process.resume)

    def _signal(self, signum: signal.Signals) -> None:
        if self.process is not None and self.running:
            self.process.send_signal(signum)

    def _tree(self) -> list[psutil.Process]:
        if not self.running:
            return []
        try:
            parent = psutil.Process(self.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _rotate_log(self) -> None:
        if self._log_size() > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        self._log_start = self._log_size()

    def _log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0


def ignore_if_gone(action: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        action()


def is_alive(process: psutil.Process) -> bool:
    """Whether the process runs; a zombie holds no resources, and may be reaped late."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
