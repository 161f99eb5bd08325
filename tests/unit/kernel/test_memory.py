"""The garbage collector, in a process of its own: its settings are those of a whole process."""

import subprocess
import sys

PROGRAM = """
import gc, weakref
from kernel import memory

class Node:
    pass

def cycle():
    one, other = Node(), Node()
    one.other, other.other = other, one
    return one, weakref.ref(one)

memory.tune_gc()
memory.tune_gc()  # a second service in the process
before = gc.get_freeze_count()
records = {number: [number] for number in range(100_000)}
node, excluded = cycle()
gc.collect()
print(gc.get_freeze_count() - before >= 100_000, len(gc.get_objects()) < 10_000)
del node
gc.collect()
print(excluded() is not None)
_, fresh = cycle()
del _
gc.collect()
print(fresh() is None)
for _ in range(memory.FULL_COLLECTIONS + 1):
    gc.collect()
print(excluded() is None, len(records))
"""

GROWING = """
import gc
from kernel import memory

examined = []

def record(phase, info):
    if phase == "start":
        examined.append(sum(len(gc.get_objects(one)) for one in range(info["generation"] + 1)))

memory.tune_gc()
gc.callbacks.insert(0, record)
records = {number: [number] for number in range(1_000_000)}
print(max(examined) < 60_000)
"""


def run(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_what_survives_is_examined_rarely_and_not_forgotten() -> None:
    assert run(PROGRAM) == ["True", "True", "True", "True", "True", "100000"]


def test_collections_among_a_million_new_objects_are_short() -> None:
    assert run(GROWING) == ["True"]
