"""Compare this tree with another commit: each side runs its own bench, in turns.

Both benches, old and new, must support `python -m bench --turns 1 --json FILE [--quick]`.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench import commits
from bench.child import ROOT, Json
from bench.comparison import Pair, in_turn
from bench.folder import folder_of
from bench.printing import ReportProgress, console, progress
from bench.record import SHORT
from bench.report import ENGINE
from bench.servers import external_servers

REQUIRED_OPTIONS = ("--turns", "--json", "--quick")
RESULTS_VARIABLE = "BENCH_RESULTS"  # environment variable: folder of a run's results
END_WITHIN_S = 120.0  # delivery waits up to a minute for replies to end of data
LINES_PRINTED = 10
# Prints the origin of every package: an editable install may point at another tree.
ORIGINS = """
import bench, cli, contracts, kernel, mail, services
for package in (bench, cli, contracts, kernel, mail, services):
    print(next(iter(package.__path__)))
"""


class NotComparable(RuntimeError):
    """A side cannot be measured; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class Side:
    name: str  # new | old
    commit: str
    tree: Path
    python: str = sys.executable

    def environment(self, folder: Path) -> dict[str, str]:
        """The environment of a side: its own code first, and plain output."""
        own = {"PYTHONPATH": str(self.tree), RESULTS_VARIABLE: str(folder)}
        return {**os.environ, **own, "TERM": "dumb", "COLUMNS": "200"}


def take_pairs(old: str, *, turns: int, quick: bool) -> list[Pair]:
    """Run the given number of turns of each side, one at a time. Raises NotComparable,
    GitFailed."""
    if all(external_servers()):
        raise NotComparable(
            "Two commits cannot share a database. Unset OBM_KAFKA_BOOTSTRAP_SERVERS "
            "and DATABASE_URL."
        )
    with folder_of("against") as folder, commits.tree_of(old, folder / "tree") as tree:
        sides = [Side("new", commits.head(), ROOT), Side("old", old, tree, provide_python(tree))]
        for side in sides:
            require_own_code(side, folder)
            console.print(f"{side.name}: {side.commit[:SHORT]}, code in {side.tree}")
        with progress(console) as report_progress:
            runner = PairRunner(folder, turns, quick, report_progress)
            return [runner.take_pair(sides, number) for number in range(turns)]


def provide_python(tree: Path) -> str:
    """This Python if both trees pin the same packages, else one installed by the tree's
    Makefile."""
    if pins(tree) == pins(ROOT):
        return sys.executable
    console.print("old: installing its own package versions; this takes minutes")
    if subprocess.run(["make", ".venv/dev"], cwd=tree, check=False).returncode:
        raise NotComparable("old: `make .venv/dev` failed, see above.")
    return str(tree / ".venv/bin/python")


def pins(tree: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tree / "requirements").glob("*.txt")}


def require_own_code(side: Side, folder: Path) -> None:
    """Check that the side runs its own code and its bench has the required options."""
    found = run_python(side, folder, "-c", ORIGINS)
    for origin in found.split("\n"):
        if not Path(origin).resolve().is_relative_to(side.tree.resolve()):
            raise NotComparable(f"{side.name}: {origin} would run instead of code in {side.tree}.")
    options = run_python(side, folder, "-m", "bench", "--help")
    if missing := [option for option in REQUIRED_OPTIONS if option not in options]:
        raise NotComparable(
            f"{side.name}: its bench lacks {', '.join(missing)}. Choose a newer commit."
        )


def run_python(side: Side, folder: Path, *arguments: str) -> str:
    """Run Python in a folder outside of the trees, as the processes of a bench do."""
    process = subprocess.run(
        [side.python, *arguments],
        cwd=folder,
        env=side.environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise NotComparable(f"{side.name}: its bench does not start: {last(process.stderr, 1)}")
    return process.stdout.strip()


@dataclass(frozen=True, slots=True)
class PairRunner:
    """The common parameters of all turns."""

    folder: Path
    turns: int
    quick: bool
    report_progress: ReportProgress

    def take_pair(self, sides: Sequence[Side], number: int) -> Pair:
        figures = {side.name: self.take_turn(side, number) for side in in_turn(number, sides)}
        return Pair(**figures)

    def take_turn(self, side: Side, number: int) -> dict[str, Json]:
        what = f"pair {number + 1} of {self.turns}, {side.name}"
        path = self.folder / f"{side.name}-{number + 1}.json"
        self.report_progress(f"{what}: starting", number, self.turns)
        with closing(self.run_bench(side, path)) as phases:
            for phase in phases:
                self.report_progress(f"{what}: {phase}", number, self.turns)
        figures: dict[str, Json] = json.loads(path.read_text())
        if "delivered_per_s" not in figures:
            raise NotComparable(
                f"{side.name}: its bench does not measure the engine. Choose a newer commit."
            )
        console.print(f"{what}: {figures['delivered_per_s']} msg/s")
        return figures

    def run_bench(self, side: Side, path: Path) -> Generator[str, None, None]:
        """Run one turn with its figures in `path`; yields the phases of the engine."""
        options = ["--turns=1", f"--json={path}", *(["--quick"] if self.quick else [])]
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # set in background jobs
            # the child would inherit SIG_IGN
            signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [side.python, "-m", "bench", *options],
            cwd=side.tree,
            env=side.environment(self.folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C reaches this process only, which forwards it once
        )
        log = path.with_suffix(".log")
        try:
            yield from follow(process, log)
        finally:
            end(process)
        if process.returncode or not path.exists():
            tail = last(log.read_text(), LINES_PRINTED)
            raise NotComparable(
                f"{side.name}: its bench failed, see {log}. Its last lines:\n{tail}"
            )


def follow(process: "subprocess.Popen[str]", log: Path) -> Iterator[str]:
    """Write the output of the process to the log until it exits; yields the phases of the
    engine."""
    assert process.stdout is not None
    with log.open("w") as written, process.stdout as lines:
        for line in lines:
            written.write(line)
            if line.startswith(f"{ENGINE}: "):
                yield line.removeprefix(f"{ENGINE}: ").strip()
        process.wait()


def end(process: "subprocess.Popen[str]") -> None:
    """Interrupt a running bench, and give it time to stop its servers in order."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(END_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last(text: str, lines: int) -> str:
    return "\n".join(text.strip().split("\n")[-lines:])
