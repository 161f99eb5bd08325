"""Work on strangers' bytes, in a process that may be killed for what they do to it.

A parser that is led astray takes processor or memory until the system ends it, and with it
everything else in its process. A child takes a body with it, and not its parent's connections.
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
from kernel.errors import Unavailable
from kernel.worker import MEMORY_EXIT, RAISED, REQUEST_FRAME, RESULT_FRAME

CPU, MEMORY, CRASH = "cpu", "memory", "crash"
REASONS = {-signal.SIGPROF: CPU, MEMORY_EXIT: MEMORY}
DEATHS_MAX = 2  # of children, over one body alone
SILENCE_TIMEOUT_S = 60.0  # on a machine that is busy; its processor time is bounded far below
ANSWER_BYTES_MAX = 1 << 20
CHUNK_BYTES = 1 << 18
GROUP_MAX, GROUP_BYTES_MAX = 64, 1 << 19
INHERITED = ("PATH", "LD_LIBRARY_PATH")  # of the environment, which has secrets in it

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChildKilled:
    """The work on this body ends who does it: cpu, memory (more than is allowed), or crash."""

    reason: str


@dataclass(frozen=True, slots=True)
class ChildRaised:
    """The work raised this; who does it is well."""

    error: str


ChildResult: TypeAlias = Union[bytes, ChildKilled, ChildRaised]


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """Of the work on one body."""

    cpu_s: float
    memory_bytes: int


class ChildEnded(Exception):
    """The child says no more."""


class Child:
    """One process, made when it is needed and again when it has ended.

    name: for logs and metrics. function: `module:name`, given `setup` in the child, returns the
    work, bytes to bytes. Use it in the thread of a loop that lives as long as the child should.
    """

    def __init__(self, name: str, function: str, setup: bytes, *, limits: ChildLimits) -> None:
        self._name = name
        self._arguments = [function, os.getpid(), limits.cpu_s, limits.memory_bytes]
        self._setup = setup
        self._life: _Process | None = None
        self._turn = asyncio.Lock()

    async def ready(self) -> None:
        """Return when it is. Raises Unavailable."""
        async with self._turn:
            await self._alive()

    async def work(self, bodies: Sequence[bytes]) -> list[ChildResult]:
        """An answer for each, in order. Who ends the child is left out, and the rest goes on.
        Raises Unavailable when no child can be made."""
        answers: list[ChildResult] = []
        async with self._turn:
            while await self._send_and_collect(groups(bodies[len(answers) :]), answers) is not None:
                for body in groups(bodies[len(answers) :])[0]:  # it was one of these
                    answers.append(await self._run_alone(body))  # noqa: PERF401 - all or none is wrong
        return answers

    async def close(self) -> None:
        await self._end()

    async def _run_alone(self, body: bytes) -> ChildResult:
        """Its processor time is nobody else's doing, nor is the memory of a child that has done
        nothing else. Anything else may have come from elsewhere, once."""
        answers: list[ChildResult] = []
        reason = ""
        for _ in range(DEATHS_MAX):
            fresh = self._life is None
            if (ended := await self._send_and_collect([[body]], answers)) is None:
                return answers[0]
            reason = ended
            if reason == CPU or (reason == MEMORY and fresh):
                break
        return ChildKilled(reason)

    async def _send_and_collect(
        self, groups: Sequence[Sequence[bytes]], answers: list[ChildResult]
    ) -> str | None:
        """Until all are answered, or until the child ends: then why. What it was working on is of
        the group of the first without an answer."""
        life = await self._alive()
        asked = len(answers) + sum(map(len, groups))
        sending = asyncio.create_task(life.send(groups))
        try:
            while len(answers) < asked:
                answers += await life.answers(most=asked - len(answers))
        except ChildEnded:
            return await self._record_end()
        except BaseException:
            await self._end()  # it would answer to who asks next
            raise
        finally:
            sending.cancel()
            await asyncio.wait([sending])
        return None

    async def _alive(self) -> "_Process":
        if self._life is None:
            self._life = await _Process.begin(self._arguments)
            try:
                await self._life.send([[self._setup]])
                await self._life.answers(most=1)
            except ChildEnded as error:
                await self._record_end()
                raise Unavailable(f"a child of {self._name}") from error
            except BaseException:
                await self._end()
                raise
        return self._life

    async def _record_end(self) -> str:
        """Returns why it has ended."""
        code = await self._end()
        reason = REASONS.get(code, CRASH)
        metrics.children_ended.labels(self._name, reason).inc()
        logger.warning("child.ended", extra={"child": self._name, "reason": reason, "code": code})
        return reason

    async def _end(self) -> int:
        life, self._life = self._life, None
        return await life.end() if life else 0


class _Process:
    """One process, from its start to its end."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._came = b""

    @classmethod
    async def begin(cls, arguments: Sequence[object]) -> "_Process":
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = subprocess.Popen(  # noqa: ASYNC220, S603 - as quick as a fork
                    [sys.executable, "-m", "kernel.worker", *map(str, arguments)],
                    stdin=theirs.fileno(),
                    env=environment(),
                )
            except OSError as error:
                ours.close()
                raise Unavailable("a process") from error
        return cls(process, *await asyncio.open_unix_connection(sock=ours))

    async def send(self, groups: Sequence[Sequence[bytes]]) -> None:
        with suppress(ConnectionError):  # who reads the answers hears of it
            for group in groups:
                last = len(group) - 1
                framed = [REQUEST_FRAME.pack(len(b), n == last) + b for n, b in enumerate(group)]
                self._writer.writelines(framed)
                await self._writer.drain()

    async def answers(self, *, most: int) -> list[ChildResult]:
        """Those that come next, one or more. Raises ChildEnded."""
        found: list[ChildResult] = []
        while not found:
            self._came += await self._more()
            at = 0
            while (end := self._end_of_answer(at)) is not None:
                found.append(self._answer(at, end))
                at = end
            self._came = self._came[at:]
        if len(found) > most:
            raise ChildEnded
        return found

    async def _more(self) -> bytes:
        try:
            async with asyncio.timeout(SILENCE_TIMEOUT_S):
                chunk = await self._reader.read(CHUNK_BYTES)
        except (TimeoutError, ConnectionError) as error:
            raise ChildEnded from error
        if not chunk:
            raise ChildEnded
        return chunk

    def _end_of_answer(self, at: int) -> int | None:
        """None: it has not come whole."""
        if len(self._came) < at + RESULT_FRAME.size:
            return None
        length, _ = RESULT_FRAME.unpack_from(self._came, at)
        if length > ANSWER_BYTES_MAX:
            raise ChildEnded
        end: int = at + RESULT_FRAME.size + length
        return end if end <= len(self._came) else None

    def _answer(self, at: int, end: int) -> ChildResult:
        _, kind = RESULT_FRAME.unpack_from(self._came, at)
        body = self._came[at + RESULT_FRAME.size : end]
        return ChildRaised(body.decode(errors="replace")) if kind == RAISED else body

    async def end(self) -> int:
        """The code that it ended with; it may have been before."""
        self._writer.close()
        self._process.kill()
        return await asyncio.to_thread(self._process.wait)


def groups(bodies: Sequence[bytes]) -> list[Sequence[bytes]]:
    """As they are passed on: a message to another process costs more than many a body's work."""
    found: list[Sequence[bytes]] = []
    start = size = 0
    for at, body in enumerate(bodies):
        if at > start and (at - start == GROUP_MAX or size + len(body) > GROUP_BYTES_MAX):
            found.append(bodies[start:at])
            start, size = at, 0
        size += len(body)
    return [*found, bodies[start:]] if bodies else []


def environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
