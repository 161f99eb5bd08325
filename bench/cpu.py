"""CPU time of process trees, from /proc, including exited children."""

import os
from collections.abc import Mapping
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STAT = Path("/proc/stat")


def tree_seconds(root: int) -> float:
    """User and system seconds of a process tree; an exited process counts with its parent."""
    return sum(own_ticks(stat) for stat in tree(root)) / TICKS_PER_S


def tree(root: int) -> list[str]:
    """The stat lines of a process and its descendants; none if it has exited."""
    children: dict[int, list[int]] = {}
    stats: dict[int, str] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (stat := read_stat(int(entry.name))):
            stats[int(entry.name)] = stat
            children.setdefault(parent(stat), []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        if pid in stats:
            found.append(stats[pid])
            waiting += children.get(pid, [])
    return found


def read_stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def fields(stat: str) -> list[str]:
    """The fields of proc(5) from the third on: the second may contain blanks and brackets."""
    return stat.rpartition(")")[2].split()


def parent(stat: str) -> int:
    return int(fields(stat)[1])


def own_ticks(stat: str) -> int:
    """utime, stime, cutime and cstime: fields 14 to 17 of proc(5)."""
    return sum(int(ticks) for ticks in fields(stat)[11:15])


def busy_seconds(stat: str = "") -> float:
    """CPU time of all processors of this machine, without idle and I/O wait."""
    line = (stat or STAT.read_text()).split("\n", 1)[0]
    user, nice, system, _idle, _wait, irq, softirq, *_ = (int(x) for x in line.split()[1:])
    return (user + nice + system + irq + softirq) / TICKS_PER_S


def snapshot(processes: Mapping[str, int]) -> dict[str, float]:
    return {name: tree_seconds(pid) for name, pid in processes.items()}


def milliseconds_each(
    before: Mapping[str, float], after: Mapping[str, float], messages: int
) -> dict[str, float]:
    """CPU ms per message by process, between two snapshots."""
    if not messages:
        return {}
    return {name: round((after[name] - before[name]) * 1000 / messages, 3) for name in after}
