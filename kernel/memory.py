"""How a process that works on one message after the other keeps its memory."""

import ctypes
import gc

GC_OBJECTS = 20_000  # new ones between two looks
# mallopt(3): what may stay free at the top of the heap, and what gets pages of its own.
M_TRIM_THRESHOLD, TRIM_BYTES = -1, 16 << 20
M_MMAP_THRESHOLD, MMAP_BYTES = -3, 4 << 20


def tune_gc() -> None:
    """Modules and wiring live for ever: at Python's own pace, the garbage collector looks at them
    so often that it takes a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_OBJECTS)


def tune_malloc() -> None:
    """A body takes a good part of a megabyte while it is worked on. Left alone, glibc gives that
    back to the system after each message and asks for it anew: longer than an HTML page's parse."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc has it
        mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
        mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)
