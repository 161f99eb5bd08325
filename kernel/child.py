"""Process untrusted bytes in a child process that can be killed.

A parser that hostile input leads astray uses CPU or memory until the system kills its process. In
a child this costs one body, not the connections of the parent.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias, Union

from kernel import metrics
from kernel.child_program import MEMORY_EXIT, RAISED, REQUEST_FRAME, RESULT_FRAME
from kernel.errors import Unavailable

CPU, MEMORY, CRASH = "cpu", "memory", "crash"
REASONS = {-signal.SIGPROF: CPU, MEMORY_EXIT: MEMORY}
DEATHS_MAX = 2  # of children that worked on one body alone
SILENCE_TIMEOUT_S = 60.0  # generous for a busy machine; the CPU limit is far lower
RESULT_BYTES_MAX = 1 << 20
CHUNK_BYTES = 1 << 18
GROUP_MAX, GROUP_BYTES_MAX = 64, 1 << 19
INHERITED = ("PATH", "LD_LIBRARY_PATH")  # environment variables; the others may hold secrets

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChildKilled:
    """Work on this body kills the child. reason: cpu or memory (limit exceeded), or crash."""

    reason: str


@dataclass(frozen=True, slots=True)
class ChildRaised:
    """The work raised this error; the child is unharmed."""

    error: str


ChildResult: TypeAlias = Union[bytes, ChildKilled, ChildRaised]


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """Limits for the work on one body. niceness: added to that of the parent."""

    cpu_s: float
    memory_bytes: int
    niceness: int = 0


class ChildEnded(Exception):
    """The child ended, or stopped responding."""


class Child:
    """One process, started on demand and started again after it ends.

    name: for logs and metrics. function: `module:name`; the child calls it with `setup`, and it
    returns the work (see `kernel.child_program`). The thread that starts the child must live as
    long as the child, because the kernel kills the child when that thread ends.
    """

    def __init__(self, name: str, function: str, setup: bytes, *, limits: ChildLimits) -> None:
        self._name = name
        self._arguments = [
            function, os.getpid(), limits.cpu_s, limits.memory_bytes, limits.niceness
        ]  # fmt: skip
        self._setup = setup
        self._process: _Process | None = None
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Start the process if there is none. Raises Unavailable."""
        async with self._lock:
            await self._ensure_process()

    async def replace_setup(self, setup: bytes) -> None:
        """Go on with a process that has another setup; work waits no longer than for a message.
        Raises Unavailable."""
        fresh = await self._start(setup)
        async with self._lock:
            self._setup = setup
            used, self._process = self._process, fresh
        if used is not None:
            await used.end()

    async def process(self, bodies: Sequence[bytes]) -> list[ChildResult]:
        """One result per body, in order. A body that kills the child gets ChildKilled, and work on
        the others continues. Raises Unavailable if no child can be started."""
        results: list[ChildResult] = []
        async with self._lock:
            left = group_bodies(bodies)
            while await self._send_and_collect(left, results) is not None:
                left = group_bodies(bodies[len(results) :])
                for body in left[0]:  # one of these killed the child
                    results.append(await self._run_alone(body))  # noqa: PERF401 - all or none is wrong
                left = group_bodies(bodies[len(results) :])
        return results

    async def close(self) -> None:
        await self._end()

    async def _run_alone(self, body: bytes) -> ChildResult:
        """The result of one body. CPU time is measured per body, and memory of a fresh child is
        this body's alone, so one death is proof. Any other death may have another cause: retry."""
        results: list[ChildResult] = []
        reason = ""
        for _ in range(DEATHS_MAX):
            fresh = self._process is None
            if (ended := await self._send_and_collect([[body]], results)) is None:
                return results[0]
            reason = ended
            if reason == CPU or (reason == MEMORY and fresh):
                break
        return ChildKilled(reason)

    async def _send_and_collect(
        self, groups: Sequence[Sequence[bytes]], results: list[ChildResult]
    ) -> str | None:
        """Append the results of all groups; if the child ends first, return the reason. The body it
        worked on is in the group of the first body without a result."""
        process = await self._ensure_process()
        expected = len(results) + sum(map(len, groups))
        sending = asyncio.create_task(process.send(groups))
        try:
            while len(results) < expected:
                results += await process.read_results(count_max=expected - len(results))
        except ChildEnded:
            return await self._record_end()
        except BaseException:
            await self._end()  # its late results would reach the next caller
            raise
        finally:
            sending.cancel()
            await asyncio.wait([sending])
        return None

    async def _ensure_process(self) -> "_Process":
        if self._process is None:
            self._process = await self._start(self._setup)
        return self._process

    async def _start(self, setup: bytes) -> "_Process":
        process = await _Process.start(self._arguments)
        try:
            await process.send([[setup]])
            await process.read_results(count_max=1)
        except ChildEnded as error:
            self._count_end(await process.end())
            raise Unavailable(f"a child of {self._name}") from error
        except BaseException:
            await process.end()
            raise
        return process

    async def _record_end(self) -> str:
        """Reap the child, count and log its end; return the reason."""
        return self._count_end(await self._end())

    def _count_end(self, code: int) -> str:
        reason = REASONS.get(code, CRASH)
        metrics.children_ended.labels(self._name, reason).inc()
        logger.warning("child.ended", extra={"child": self._name, "reason": reason, "code": code})
        return reason

    async def _end(self) -> int:
        process, self._process = self._process, None
        return await process.end() if process else 0


class _Process:
    """One process, from its start to its end."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.popen = process
        self._reader = reader
        self._writer = writer
        self._received = b""

    @classmethod
    async def start(cls, arguments: Sequence[object]) -> "_Process":
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = subprocess.Popen(  # noqa: ASYNC220, S603 - as quick as a fork
                    [sys.executable, "-m", "kernel.child_program", *map(str, arguments)],
                    stdin=theirs.fileno(),
                    env=child_environment(),
                )
            except OSError as error:
                ours.close()
                raise Unavailable("a process") from error
        return cls(process, *await asyncio.open_unix_connection(sock=ours))

    async def send(self, groups: Sequence[Sequence[bytes]]) -> None:
        with suppress(ConnectionError):  # read_results reports the end
            for group in groups:
                last = len(group) - 1
                framed = [REQUEST_FRAME.pack(len(b), n == last) + b for n, b in enumerate(group)]
                self._writer.writelines(framed)
                await self._writer.drain()

    async def read_results(self, *, count_max: int) -> list[ChildResult]:
        """The next results, at least one. Raises ChildEnded."""
        found: list[ChildResult] = []
        while not found:
            self._received += await self._read_chunk()
            at = 0
            while (end := self._result_end(at)) is not None:
                found.append(self._parse_result(at, end))
                at = end
            self._received = self._received[at:]
        if len(found) > count_max:
            raise ChildEnded
        return found

    async def _read_chunk(self) -> bytes:
        try:
            async with asyncio.timeout(SILENCE_TIMEOUT_S):
                chunk = await self._reader.read(CHUNK_BYTES)
        except (TimeoutError, ConnectionError) as error:
            raise ChildEnded from error
        if not chunk:
            raise ChildEnded
        return chunk

    def _result_end(self, at: int) -> int | None:
        """Offset behind the result at `at`; None while it is incomplete."""
        if len(self._received) < at + RESULT_FRAME.size:
            return None
        length, _ = RESULT_FRAME.unpack_from(self._received, at)
        if length > RESULT_BYTES_MAX:
            raise ChildEnded
        end: int = at + RESULT_FRAME.size + length
        return end if end <= len(self._received) else None

    def _parse_result(self, at: int, end: int) -> ChildResult:
        _, kind = RESULT_FRAME.unpack_from(self._received, at)
        body = self._received[at + RESULT_FRAME.size : end]
        return ChildRaised(body.decode(errors="replace")) if kind == RAISED else body

    async def end(self) -> int:
        """Kill it if it still runs; return its exit code."""
        self._writer.close()
        self.popen.kill()
        return await asyncio.to_thread(self.popen.wait)


def group_bodies(bodies: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Split bodies into groups: one message to a child costs more than the work on many a body."""
    found: list[Sequence[bytes]] = []
    start = size = 0
    for at, body in enumerate(bodies):
        if at > start and (at - start == GROUP_MAX or size + len(body) > GROUP_BYTES_MAX):
            found.append(bodies[start:at])
            start, size = at, 0
        size += len(body)
    return [*found, bodies[start:]] if bodies else []


def child_environment() -> dict[str, str]:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
