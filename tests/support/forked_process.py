"""A process of a service, forked from a server that has already imported the services.

An interpreter of its own spends two seconds of CPU on imports, far more than the service on its
start. A fork is as much a process: it has its own environment, log and signals, and runs the same
`python -m services.NAME`.
"""

import importlib
import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from signal import Signals
from subprocess import TimeoutExpired

from cli.environment import SERVICES
from cli.processes import Child, Process
from kernel import failpoint

READY_WITHIN_S = 600.0  # it only bounds a hang: the machine may be busy
_forks = multiprocessing.get_context("forkserver")
_services = (f"services.{name}.app" for name in SERVICES)
_forks.set_forkserver_preload([*_services, __name__, "tests.support.frozen"])


class Fork:
    """The methods of `subprocess.Popen` that `Process` calls."""

    def __init__(
        self,
        module: str,
        environment: Mapping[str, str],
        log: Path,
        *,
        target: Callable[[str, dict[str, str], Path], None] | None = None,
    ) -> None:
        """target: called in the fork with the first three arguments; it calls `run` or `become`.
        module: whatever the target takes."""
        arguments = (module, dict(environment), log)
        self._process = _forks.Process(target=target or run, args=arguments, daemon=True)
        self._process.start()
        self.pid = self._process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout_s: float | None = None) -> int:
        self._process.join(timeout_s)
        if (code := self.poll()) is None:
            raise TimeoutExpired(self._process.name, timeout_s or 0.0)
        return code

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, Signals(signum))


class ForkedProcess(Process):
    def await_ready(self, within_s: float = READY_WITHIN_S) -> None:
        super().await_ready(within_s)

    def spawn(self, environment: Mapping[str, str]) -> Child:
        return Fork(f"services.{self.name}", environment, self.log)


def run(module: str, environment: dict[str, str], log: Path) -> None:
    """In the fork: become `python -m module`."""
    become(environment, log)
    sys.argv[:] = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def become(environment: dict[str, str], log: Path) -> None:
    """In the fork: take the environment and the log of the process."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for source, target in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(environment)
    importlib.reload(failpoint)  # it reads the environment when it is imported
