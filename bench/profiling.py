"""Profile the CPU time of services under load by sampling with py-spy."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
SAMPLES_PER_S = 100
FUNCTIONS_MAX = 60
LINE = re.compile(r":\d+\)$")  # count functions, not lines


def start(processes: Mapping[str, int], seconds: int) -> "dict[str, subprocess.Popen[bytes]]":
    """Start sampling the processes for the given time; `finish` waits for the end."""
    program = shutil.which("py-spy") or str(Path(sys.executable).with_name("py-spy"))
    RESULTS.mkdir(exist_ok=True)
    options = ["record", "--nonblocking", "--format=raw", f"--rate={SAMPLES_PER_S}"]
    return {
        name: subprocess.Popen(
            [program, *options, f"-p{pid}", f"-d{seconds}", f"-o{raw_path(name)}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name, pid in processes.items()
    }


def finish(samplers: "Mapping[str, subprocess.Popen[bytes]]") -> list[Path]:
    """Write the profiles: functions by own and total time. Returns their paths."""
    written = []
    for name, sampler in samplers.items():
        sampler.wait()
        raw = raw_path(name)
        if raw.exists():
            path = RESULTS / f"profile-{name}.txt"
            path.write_text(digest(raw.read_text(), name))
            raw.unlink()
            written.append(path)
    return written


def raw_path(name: str) -> Path:
    return RESULTS / f"profile-{name}.raw"


def digest(raw: str, name: str) -> str:
    """Convert stacks `a;b;c count`, one per line, to lists of own and total time by function."""
    own: Counter[str] = Counter()
    total_time: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [LINE.sub(")", frame) for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        total_time.update(dict.fromkeys(frames, int(count)))
    total = sum(own.values())
    parts = [f"{name}: {total} samples at {SAMPLES_PER_S} per second of CPU time", ""]
    for title, found in (("own time", own), ("total time", total_time)):
        rows = (f"{share(n, total):>6} {frame}" for frame, n in found.most_common(FUNCTIONS_MAX))
        parts += [title, *rows, ""]
    return "\n".join(parts)


def share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f}%"
