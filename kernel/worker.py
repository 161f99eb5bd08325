"""The program of a child (see `kernel.child`): it answers one body after the other, within limits.

`python -m kernel.worker FUNCTION PARENT CPU_S MEMORY_BYTES`, with a socket as its input:

    in     length, last, bytes    for FUNCTION, `module:name`, which returns the work; then bodies
    out    length, kind, bytes    an empty one when it is ready; then an answer for each, in order

Bodies come in groups, up to one that is called the last; a group's answers go out together.
It has no secrets of its parent's, and both sides send bytes, never anything that could run code.
"""

import ctypes
import io
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from struct import Struct
from typing import BinaryIO, TypeAlias

from kernel.memory import tune_gc, tune_malloc

Work: TypeAlias = Callable[[bytes], bytes]

REQUEST_FRAME = Struct(">I?")
RESULT_FRAME = Struct(">IB")
DONE, RAISED = 0, 1
MEMORY_EXIT = 70
PR_SET_PDEATHSIG = 1
ERROR_CHARS = 500
BUFFER_BYTES = 1 << 16
# What is not allocated leaves no trace in the peak, and C libraries go on without it. So the system
# refuses at twice the bound: no single allocation on the way there is as large as the bound.
REFUSED_AT = 2


def main() -> None:
    function, parent, cpu_s, memory_bytes = sys.argv[1:]
    die_with(int(parent))
    with socket.socket(fileno=0) as out, out.makefile("rb", buffering=0) as raw:
        bodies = io.BufferedReader(raw, BUFFER_BYTES)
        setup, _ = read_next(bodies)
        work = load(function)(setup)
        limit_kib = peak_kib() + bound_memory(int(memory_bytes)) // 1024
        tune_gc()
        tune_malloc()
        out.sendall(RESULT_FRAME.pack(0, DONE))
        while True:
            answers = process_group(work, bodies, cpu_s=float(cpu_s))
            if most_ever_kib() > limit_kib and peak_kib() > limit_kib:
                os._exit(MEMORY_EXIT)
            out.sendall(answers)


def die_with(parent: int) -> None:
    """The parent decides when this ends, whatever a terminal or a supervisor sends to all."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        Path("/proc/self/oom_score_adj").write_text("500")  # rather this than its parent
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def load(function: str) -> Callable[[bytes], Work]:
    module, _, name = function.partition(":")
    found: Callable[[bytes], Work] = getattr(import_module(module), name)
    return found


def bound_memory(most: int) -> int:
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        refused_at = pages * resource.getpagesize() + REFUSED_AT * most
        resource.setrlimit(resource.RLIMIT_AS, (refused_at, refused_at))
    return most


def process_group(work: Work, bodies: BinaryIO, *, cpu_s: float) -> bytes:
    """A body that takes more than its share of the processor ends the process (SIGPROF), wherever
    it is. The clock runs while this process works, not while it waits."""
    answers = []
    last = False
    while not last:
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        body, last = read_next(bodies)
        answers.append(process_one(work, body))
    return b"".join(answers)


def process_one(work: Work, body: bytes) -> bytes:
    try:
        answer, kind = work(body), DONE
    except MemoryError:
        os._exit(MEMORY_EXIT)
    except Exception as error:
        answer, kind = repr(error)[:ERROR_CHARS].encode(errors="replace"), RAISED
    return RESULT_FRAME.pack(len(answer), kind) + answer


def read_next(bodies: BinaryIO) -> tuple[bytes, bool]:
    """And whether it is the last of its group. Ends with the parent, who hangs up."""
    head = bodies.read(REQUEST_FRAME.size)
    if len(head) < REQUEST_FRAME.size:
        sys.exit()
    length, last = REQUEST_FRAME.unpack(head)
    body = bodies.read(length)
    if len(body) < length:
        sys.exit()
    return body, last


def most_ever_kib() -> int:
    """Cheap to ask, but it may have the parent's in it, from before the exec."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // 1024 if sys.platform == "darwin" else most


def peak_kib() -> int:
    """The most memory that this program has had, resident."""
    if sys.platform != "linux":
        return most_ever_kib()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0])


if __name__ == "__main__":
    main()
