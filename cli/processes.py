"""The five services as processes: start, watch and stop them."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol

from cli.environment import SERVICES
from kernel.service import exit_timeout_s
from kernel.settings import env_name

READY_WITHIN_S = 60.0
EXIT_S = 5.0  # for a signal to arrive and an interpreter to exit, on a busy machine
POLL_S = 0.05


class Child(Protocol):
    """What a Process needs of `subprocess.Popen`."""

    pid: int

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None, /) -> int: ...

    def send_signal(self, sig: int, /) -> None: ...


class Process:
    """A process of one service."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.environment = dict(environment)
        self.log = log
        self._popen: Child | None = None

    @property
    def pid(self) -> int:
        if self._popen is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_timeout_s(self) -> float:
        """Maximum time from SIGTERM to the exit, by the service's own settings."""
        settings = import_module(f"services.{self.name}.settings").Settings
        field = settings.model_fields["shutdown_timeout_s"]
        value = {**os.environ, **self.environment}.get(
            env_name(settings, "shutdown_timeout_s", field)
        )
        return exit_timeout_s(float(field.default if value is None else value)) + EXIT_S

    def start(self, **extra: str) -> None:
        """extra: environment variables of this run only."""
        self.log.parent.mkdir(0o700, parents=True, exist_ok=True)
        self._popen = self.spawn({**os.environ, **self.environment, **extra})

    def spawn(self, environment: Mapping[str, str]) -> Child:
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", f"services.{self.name}"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def signal(self, signum: int) -> None:
        if self._popen is not None:
            self._popen.send_signal(signum)

    def kill(self) -> None:
        """Kill the process and wait for its end."""
        self.signal(signal.SIGKILL)
        self.wait()

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Let the service drain; kill it if it does not exit in time."""
        if not self.running:
            return
        self.signal(signal.SIGTERM)
        try:
            self.wait(self.exit_timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def wait(self, timeout_s: float | None = None) -> int:
        return 0 if self._popen is None else self._popen.wait(timeout_s)

    def ready(self) -> bool:
        address = self.environment[f"{self.name.upper()}_HEALTH_LISTEN"]
        try:
            with urllib.request.urlopen(f"http://{address}/ready", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def await_ready(self, within_s: float = READY_WITHIN_S) -> None:
        deadline = time.monotonic() + within_s
        while not self.ready():
            if not self.running:
                raise RuntimeError(f"{self.name} ended while starting; see {self.log}")
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{self.name} is not ready after {within_s:.0f} s; see {self.log}"
                )
            time.sleep(POLL_S)


class Processes:
    """The processes of all five services, by name: `processes["router"].kill()`."""

    def __init__(
        self, environment: Mapping[str, str], folder: Path, *, process: type[Process] = Process
    ) -> None:
        self._by_name = {
            name: process(name, environment, folder / "logs" / f"{name}.log") for name in SERVICES
        }

    def __getitem__(self, name: str) -> Process:
        return self._by_name[name]

    def all(self) -> list[Process]:
        return list(self._by_name.values())

    def start(self) -> None:
        for process in self.all():
            process.start()
        for process in self.all():
            process.await_ready()

    def stop(self) -> None:
        """Stop in the order of the pipeline, so that no service waits for one that has stopped."""
        for process in self.all():
            process.resume()
            process.signal(signal.SIGTERM)
        for process in self.all():
            process.terminate()
