import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kernel import failpoint

PROGRAM = """
from kernel.failpoint import failpoint
for turn in range(3):
    failpoint("a.place")
    print(turn, flush=True)
"""


def run(tmp_path: Path, failpoints: str) -> tuple[int, str, str]:
    log = tmp_path / "log"
    log.touch()
    env = {**os.environ, "OBM_FAILPOINTS": failpoints, "OBM_FAILPOINT_LOG": str(log)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, log.read_text()


def test_a_process_dies_at_the_named_failpoint_and_pass(tmp_path: Path) -> None:
    code, printed, log = run(tmp_path, "other=kill,a.place=kill@2")

    assert (code, printed.split()) == (-signal.SIGKILL, ["0"])
    assert log.startswith("a.place ")


def test_a_waitpoint_delays_its_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(failpoint, "_waits_s", {})
    failpoint._parse("a.place=wait@15")

    asyncio.run(failpoint.waitpoint("a.place"))
    asyncio.run(failpoint.waitpoint("other"))

    assert waited == [15.0]


def test_without_the_variable_nothing_happens(tmp_path: Path) -> None:
    assert run(tmp_path, "")[:2] == (0, "0\n1\n2\n")
