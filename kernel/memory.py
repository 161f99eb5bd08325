"""Memory settings for a process that handles one message after the other."""

import ctypes
import gc

GC_OBJECTS = 20_000  # new objects between two collections
# mallopt(3): free memory kept at the top of the heap; size from which a block gets its own pages.
M_TRIM_THRESHOLD, TRIM_BYTES = -1, 16 << 20
M_MMAP_THRESHOLD, MMAP_BYTES = -3, 4 << 20


def tune_gc() -> None:
    """Exclude modules and wiring, which live for ever, from collection, and collect less often: by
    default the garbage collector uses a tenth of the CPU time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_OBJECTS)


def tune_malloc() -> None:
    """Keep freed memory in the process. Work on a body takes most of a megabyte; by default glibc
    returns it to the system after each message, which takes longer than parsing an HTML page."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # only glibc has it
        mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
        mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)
