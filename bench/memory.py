"""Memory of process trees, from /proc; shared pages count once."""

from collections.abc import Mapping
from pathlib import Path

from bench.cpu import tree

KB_PER_MB = 1024


def tree_mb(root: int, name: str = "Pss") -> float:
    """Proportional set size of a process tree (proc(5), smaps_rollup)."""
    pids = (stat.split(" ", 1)[0] for stat in tree(root))
    return round(sum(kilobytes(read(f"{pid}/smaps_rollup"), name) for pid in pids) / KB_PER_MB, 1)


def peak_mb(root: int) -> float:
    """Peak resident memory of the process itself."""
    return round(kilobytes(read(f"{root}/status"), "VmHWM") / KB_PER_MB, 1)


def read(name: str) -> str:
    try:
        return (Path("/proc") / name).read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def kilobytes(text: str, name: str) -> int:
    """The value of a line `name: 123 kB`; 0 without one."""
    line = next((line for line in text.splitlines() if line.startswith(f"{name}:")), "")
    return int(line.split()[1]) if line else 0


def snapshot(processes: Mapping[str, int]) -> dict[str, float]:
    return {name: tree_mb(pid) for name, pid in processes.items()}


def peaks(processes: Mapping[str, int]) -> dict[str, float]:
    return {name: peak_mb(pid) for name, pid in processes.items()}
