"""A service that is told to stop has the time of its own settings, and no more."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from cli.processes import EXIT_S, Process
from kernel.service import CLOSE_TIMEOUT_S
from tests.faults.stops import await_end


class Hasty(Process):
    exit_timeout_s = 0.1


def one(folder: Path, *command: str, kind: type[Process] = Process) -> Process:
    """A process in the place of the router, and its log."""
    process = kind("router", {}, folder / "router.log")
    process.log.write_text("".join(f"line {number}\n" for number in range(30)))
    process._popen = subprocess.Popen(command)
    return process


def test_a_service_that_takes_too_long_to_stop_is_named_with_its_last_words(tmp_path: Path) -> None:
    late = one(tmp_path, "sleep", "60", kind=Hasty)
    with pytest.raises(AssertionError, match=r"router has not ended in \d\.\d s(.|\n)*line 29"):
        await_end(late, time.monotonic())
    assert late.wait() == -signal.SIGKILL


def test_a_service_that_ends_with_an_error_is_named_with_its_last_words(tmp_path: Path) -> None:
    broken = one(tmp_path, "false")
    with pytest.raises(AssertionError, match=r"router ended with 1 after \d\.\d s(.|\n)*line 29"):
        await_end(broken, time.monotonic())


def test_a_service_that_ends_in_time_is_left_in_peace(tmp_path: Path) -> None:
    await_end(one(tmp_path, "true"), time.monotonic())


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
def test_each_service_is_held_to_its_own_setting(
    name: str, environment: dict[str, str], shutdown_timeout_s: float
) -> None:
    assert (
        Process(name, environment, Path()).exit_timeout_s
        == shutdown_timeout_s + CLOSE_TIMEOUT_S + EXIT_S
    )
