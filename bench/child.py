"""Child processes of the bench: each prints its address as JSON in its first line."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[1]
END_WITHIN_S = 5.0
Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Child:
    pid: int
    ready: dict[str, Json]


@contextmanager
def child(module: str, arguments: Sequence[str] = ()) -> Iterator[Child]:
    """Run `python -m module` from its first line to the end of the block."""
    process = spawn(module, arguments)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{module} did not start, see its output above")
        yield Child(process.pid, json.loads(line))
    finally:
        end(process)


def spawn(
    module: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env=environment,
    )


def end(process: "subprocess.Popen[bytes]", within_s: float = END_WITHIN_S) -> None:
    """SIGTERM, then SIGKILL if the process does not exit."""
    process.terminate()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
