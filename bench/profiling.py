"""Where a service's CPU time goes, by sampling it from outside (py-spy) under load."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
SAMPLES_PER_S = 100
SHOWN = 60
LINE = re.compile(r":\d+\)$")  # functions count, not their lines


def start(processes: Mapping[str, int], seconds: int) -> "dict[str, subprocess.Popen[bytes]]":
    """Sample these processes for so long; `finish` waits for it."""
    program = shutil.which("py-spy") or str(Path(sys.executable).with_name("py-spy"))
    RESULTS.mkdir(exist_ok=True)
    how = ["record", "--nonblocking", "--format=raw", f"--rate={SAMPLES_PER_S}"]
    return {
        name: subprocess.Popen(
            [program, *how, f"-p{pid}", f"-d{seconds}", f"-o{raw_path(name)}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name, pid in processes.items()
    }


def finish(samplers: "Mapping[str, subprocess.Popen[bytes]]") -> list[Path]:
    """The written profiles: functions by own and by whole time."""
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
    """From stacks `a;b;c count`, one a line, to two lists: own time and whole time by function."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [LINE.sub(")", frame) for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        whole.update(dict.fromkeys(frames, int(count)))
    total = sum(own.values())
    parts = [f"{name}: {total} samples at {SAMPLES_PER_S} per second, while it was busy", ""]
    for title, found in (("own time", own), ("with what it calls", whole)):
        rows = (f"{share(n, total):>6} {frame}" for frame, n in found.most_common(SHOWN))
        parts += [title, *rows, ""]
    return "\n".join(parts)


def share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f}%"
