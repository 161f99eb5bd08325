"""A service must stop within the time of its own settings."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from cli.processes import EXIT_S, Process
from kernel.service import CLOSE_TIMEOUT_S
from tests.faults.shutdown import await_exit


class ImpatientProcess(Process):
    exit_timeout_s = 0.1


def start(folder: Path, *command: str, kind: type[Process] = Process) -> Process:
    """Run a command in place of router, with a log."""
    process = kind("router", {}, folder / "router.log")
    process.log.write_text("".join(f"line {number}\n" for number in range(30)))
    process._popen = subprocess.Popen(command)
    return process


def test_a_service_that_stops_too_late_is_reported_with_its_last_log_lines(tmp_path: Path) -> None:
    late = start(tmp_path, "sleep", "60", kind=ImpatientProcess)
    with pytest.raises(AssertionError, match=r"router has not exited in \d\.\d s(.|\n)*line 29"):
        await_exit(late, time.monotonic())
    assert late.wait() == -signal.SIGKILL


def test_a_service_that_exits_with_an_error_is_reported_with_its_last_log_lines(
    tmp_path: Path,
) -> None:
    broken = start(tmp_path, "false")
    with pytest.raises(AssertionError, match=r"router exited with 1 after \d\.\d s(.|\n)*line 29"):
        await_exit(broken, time.monotonic())


def test_a_service_that_exits_in_time_is_not_reported(tmp_path: Path) -> None:
    await_exit(start(tmp_path, "true"), time.monotonic())


@pytest.mark.parametrize(
    ("name", "environment", "shutdown_timeout_s"),
    [
        ("ingest", {}, 10.0),
        ("shield", {}, 10.0),
        ("router", {"ROUTER_SHUTDOWN_TIMEOUT_S": "3"}, 3.0),
        ("delivery", {}, 60.0),
        ("delivery", {"DELIVERY_SHUTDOWN_TIMEOUT_S": "7"}, 7.0),
        ("events", {"ROUTER_SHUTDOWN_TIMEOUT_S": "3"}, 10.0),
    ],
)
def test_the_time_to_stop_is_the_shutdown_timeout_of_the_service(
    name: str, environment: dict[str, str], shutdown_timeout_s: float
) -> None:
    assert (
        Process(name, environment, Path()).exit_timeout_s
        == shutdown_timeout_s + CLOSE_TIMEOUT_S + EXIT_S
    )
