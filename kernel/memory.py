"""Memory settings for a process that handles one message after the other."""

import ctypes
import gc
from itertools import count

# New objects between two collections, and collections of each generation for one of the next: those
# of the second stop the process for some milliseconds, and those of the third are rare.
GC_THRESHOLDS = (10_000, 2, 100)
FULL_COLLECTIONS = 100  # those that examine only new objects, for each that examines all
# mallopt(3): free memory kept at the top of the heap; size from which a block gets its own pages.
M_TRIM_THRESHOLD, TRIM_BYTES = -1, 16 << 20
M_MMAP_THRESHOLD, MMAP_BYTES = -3, 4 << 20


def tune_gc() -> None:
    """Exclude modules and wiring, which live for ever, from collection, and collect less often: by
    default the garbage collector uses a tenth of the CPU time.

    What survives a full collection is excluded too. Otherwise each would examine every record of a
    directory and every queue: 0.2 s with ten thousand tenants, and the process does nothing else
    meanwhile. Reference counts still free excluded objects; only their cycles wait for the rare
    collection that examines all.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    if _exclude_survivors not in gc.callbacks:  # services may share a process
        gc.callbacks.append(_exclude_survivors)


_full_collections = count(1)


def _exclude_survivors(phase: str, info: dict[str, int]) -> None:
    if phase != "stop" or info["generation"] != 2:
        return
    if next(_full_collections) % FULL_COLLECTIONS:
        gc.freeze()
    else:
        gc.unfreeze()  # the next full collection examines all


def tune_malloc() -> None:
    """Keep freed memory in the process. Work on a body takes most of a megabyte; by default glibc
    returns it to the system after each message, which takes longer than parsing an HTML page."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # only glibc has it
        mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
        mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)
