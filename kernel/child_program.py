"""The program of a child process (see `kernel.child`): processes bodies within limits.

`python -m kernel.child_program FUNCTION PARENT CPU_S MEMORY_BYTES NICE`, with a socket as input:

    in     length, last, bytes    first the setup for FUNCTION (`module:name`), then bodies
    out    length, kind, bytes    first an empty one (ready), then one result per body, in order

Bodies arrive in groups; `last` marks the last body of a group, which is processed as a whole.
The child has none of its parent's secrets, and both sides send bytes only, never code.
"""

import ctypes
import io
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from struct import Struct
from typing import BinaryIO, TypeAlias

from kernel.memory import tune_gc, tune_malloc

# From the bodies of a group, in one pass, to one result per body, in order.
Work: TypeAlias = Callable[[Iterable[bytes]], list[bytes]]

REQUEST_FRAME = Struct(">I?")
RESULT_FRAME = Struct(">IB")
DONE, RAISED = 0, 1
MEMORY_EXIT = 70
PR_SET_PDEATHSIG = 1
ERROR_CHARS = 500
BUFFER_BYTES = 1 << 16
# A refused allocation does not show in the peak, and C libraries may continue without it. So the
# system refuses only at twice the limit, a distance that no single allocation covers.
REFUSED_AT = 2


def main() -> None:
    function, parent, cpu_s, memory_bytes, niceness = sys.argv[1:]
    die_with_parent(int(parent))
    os.nice(int(niceness))
    with socket.socket(fileno=0) as out, out.makefile("rb", buffering=0) as raw:
        bodies = io.BufferedReader(raw, BUFFER_BYTES)
        setup, _ = read_next(bodies)
        work = load_function(function)(setup)
        limit_kib = peak_kib() + limit_memory(int(memory_bytes)) // 1024
        tune_gc()
        tune_malloc()
        out.sendall(RESULT_FRAME.pack(0, DONE))
        while True:
            results = process_group(work, bodies, cpu_s=float(cpu_s))
            if rusage_peak_kib() > limit_kib and peak_kib() > limit_kib:
                os._exit(MEMORY_EXIT)
            out.sendall(results)


def die_with_parent(parent: int) -> None:
    """Ignore signals of a terminal or supervisor; the kernel kills this process with its parent."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        Path("/proc/self/oom_score_adj").write_text(
            "500"
        )  # the OOM killer prefers it to the parent
    if os.getppid() != parent:  # the parent died first
        os._exit(1)


def load_function(function: str) -> Callable[[bytes], Work]:
    module, _, name = function.partition(":")
    found: Callable[[bytes], Work] = getattr(import_module(module), name)
    return found


def limit_memory(bytes_max: int) -> int:
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        refused_at = pages * resource.getpagesize() + REFUSED_AT * bytes_max
        resource.setrlimit(resource.RLIMIT_AS, (refused_at, refused_at))
    return bytes_max


def process_group(work: Work, bodies: BinaryIO, *, cpu_s: float) -> bytes:
    group, last = [], False
    while not last:
        body, last = read_next(bodies)
        group.append(body)
    return b"".join(results_of(work, group, cpu_s=cpu_s))


def results_of(work: Work, group: Sequence[bytes], *, cpu_s: float) -> list[bytes]:
    """If the work raises, each body is processed alone, which shows the one at fault."""
    try:
        return [frame_result(one, DONE) for one in work(with_timer(group, cpu_s))]
    except MemoryError:
        os._exit(MEMORY_EXIT)
    except Exception as error:
        if len(group) == 1:
            return [frame_result(repr(error)[:ERROR_CHARS].encode(errors="replace"), RAISED)]
        return [one for body in group for one in results_of(work, [body], cpu_s=cpu_s)]


def with_timer(bodies: Iterable[bytes], cpu_s: float) -> Iterator[bytes]:
    """SIGPROF kills the process when it uses more CPU time than this from one body to the next, or
    from the last one to the next group. Waiting does not count."""
    for body in bodies:
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        yield body


def frame_result(result: bytes, kind: int) -> bytes:
    return RESULT_FRAME.pack(len(result), kind) + result


def read_next(bodies: BinaryIO) -> tuple[bytes, bool]:
    """The next body, and whether it is the last of its group. Exits when the parent hangs up."""
    head = bodies.read(REQUEST_FRAME.size)
    if len(head) < REQUEST_FRAME.size:
        sys.exit()
    length, last = REQUEST_FRAME.unpack(head)
    body = bodies.read(length)
    if len(body) < length:
        sys.exit()
    return body, last


def rusage_peak_kib() -> int:
    """Cheap, but may include the parent's peak from before the exec."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // 1024 if sys.platform == "darwin" else most


def peak_kib() -> int:
    """Peak resident memory of this program."""
    if sys.platform != "linux":
        return rusage_peak_kib()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0])


if __name__ == "__main__":
    main()
