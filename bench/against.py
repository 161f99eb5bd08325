"""A commit beside this tree: each side's own bench, in processes of its own, in turns.

What is asked of a bench, old or new, is `python -m bench --turns 1 --json FILE [--quick]`.
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
from bench.pair import named
from bench.printing import Tell, console, progress
from bench.record import SHORT
from bench.report import ENGINE

ASKED = ("--turns", "--json", "--quick")
KEPT_IN = "BENCH_RESULTS"  # environment: where a run keeps its figures
END_WITHIN_S = 120.0  # delivery waits up to a minute for answers to dots
LINES_TOLD = 10
# Prints where every package comes from. An editable install points at one tree, whichever runs.
ORIGINS = """
import bench, cli, contracts, kernel, mail, services
for package in (bench, cli, contracts, kernel, mail, services):
    print(next(iter(package.__path__)))
"""


class NotComparable(RuntimeError):
    """A side that cannot be measured, and why."""


@dataclass(frozen=True, slots=True)
class Side:
    name: str  # new | old
    commit: str
    tree: Path
    python: str = sys.executable

    def environment(self, folder: Path) -> dict[str, str]:
        """Its code before any other, in all its processes wherever they work; plain output."""
        own = {"PYTHONPATH": str(self.tree), KEPT_IN: str(folder)}
        return {**os.environ, **own, "TERM": "dumb", "COLUMNS": "200"}


def take_pairs(old: str, *, turns: int, quick: bool) -> list[Pair]:
    """So many turns of each side, none beside another. Raises NotComparable, GitFailed."""
    if all(named()):
        raise NotComparable(
            "two commits cannot share a database: "
            "unset OBM_KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL"
        )
    with folder_of("against") as folder, commits.tree_of(old, folder / "tree") as tree:
        sides = [Side("new", commits.head(), ROOT), Side("old", old, tree, provide_python(tree))]
        for side in sides:
            require_own_code(side, folder)
            console.print(f"{side.name}: {side.commit[:SHORT]}, code in {side.tree}")
        with progress(console) as tell:
            course = Course(folder, turns, quick, tell)
            return [course.take_pair(sides, number) for number in range(turns)]


def provide_python(tree: Path) -> str:
    """This one when both trees pin the same packages, else one that the tree's Makefile makes."""
    if pins(tree) == pins(ROOT):
        return sys.executable
    console.print("old: it pins other packages, so they are installed first; this takes minutes")
    if subprocess.run(["make", ".venv/dev"], cwd=tree, check=False).returncode:
        raise NotComparable("old: `make .venv/dev` failed there, see above")
    return str(tree / ".venv/bin/python")


def pins(tree: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tree / "requirements").glob("*.txt")}


def require_own_code(side: Side, folder: Path) -> None:
    """Its code and no other runs, and its bench knows what it is asked."""
    found = ask(side, folder, "-c", ORIGINS)
    for origin in found.split("\n"):
        if not Path(origin).resolve().is_relative_to(side.tree.resolve()):
            raise NotComparable(f"{side.name}: {origin} would run, outside of {side.tree}")
    options = ask(side, folder, "-m", "bench", "--help")
    if missing := [option for option in ASKED if option not in options]:
        raise NotComparable(f"{side.name}: its bench is too old, without {', '.join(missing)}")


def ask(side: Side, folder: Path, *arguments: str) -> str:
    """From a folder that is no tree, as any process of its processes may be."""
    asked = subprocess.run(
        [side.python, *arguments],
        cwd=folder,
        env=side.environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise NotComparable(f"{side.name}: its bench is too old or broken: {last(asked.stderr, 1)}")
    return asked.stdout.strip()


@dataclass(frozen=True, slots=True)
class Course:
    """What all turns have in common."""

    folder: Path
    turns: int
    quick: bool
    tell: Tell

    def take_pair(self, sides: Sequence[Side], number: int) -> Pair:
        told = {side.name: self.take_turn(side, number) for side in in_turn(number, sides)}
        return Pair(**told)

    def take_turn(self, side: Side, number: int) -> dict[str, Json]:
        what = f"pair {number + 1} of {self.turns}, {side.name}"
        path = self.folder / f"{side.name}-{number + 1}.json"
        self.tell(f"{what}: starting", number, self.turns)
        with closing(self.run_bench(side, path)) as phases:
            for phase in phases:
                self.tell(f"{what}: {phase}", number, self.turns)
        told: dict[str, Json] = json.loads(path.read_text())
        if "delivered_per_s" not in told:
            raise NotComparable(f"{side.name}: its bench is too old, it measures no engine")
        console.print(f"{what}: {told['delivered_per_s']} msg/s")
        return told

    def run_bench(self, side: Side, path: Path) -> Generator[str, None, None]:
        """One turn, its figures in `path`; yields the phases of the engine that it tells."""
        options = ["--turns=1", f"--json={path}", *(["--quick"] if self.quick else [])]
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # of a job in the background
            signal.signal(signal.SIGINT, signal.default_int_handler)  # else the child ignores it
        process = subprocess.Popen(
            [side.python, "-m", "bench", *options],
            cwd=side.tree,
            env=side.environment(self.folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for us, who pass it on once
        )
        log = path.with_suffix(".log")
        try:
            yield from follow(process, log)
        finally:
            end(process)
        if process.returncode or not path.exists():
            tail = last(log.read_text(), LINES_TOLD)
            raise NotComparable(f"{side.name}: its bench failed, see {log}; its end:\n{tail}")


def follow(process: "subprocess.Popen[str]", log: Path) -> Iterator[str]:
    """Write down all that it says until it has ended; yields the phases of the engine."""
    assert process.stdout is not None
    with log.open("w") as written, process.stdout as lines:
        for line in lines:
            written.write(line)
            if line.startswith(f"{ENGINE}: "):
                yield line.removeprefix(f"{ENGINE}: ").strip()
        process.wait()


def end(process: "subprocess.Popen[str]") -> None:
    """Ctrl-C to a bench that still runs: it ends its servers in order, and has some time for it."""
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
