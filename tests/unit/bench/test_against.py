"""The bench of another commit runs with its own code only, and leaves no files."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import commits
from bench.__main__ import app
from bench.against import (
    NotComparable,
    PairRunner,
    Side,
    provide_python,
    require_own_code,
    take_pairs,
)
from bench.child import ROOT

PACKAGES = ("bench", "cli", "contracts", "kernel", "mail", "services")
# A bench that writes its arguments, and the tree that a child process of it imports from.
BENCH = """
import json, pathlib, subprocess, sys
if "--help" in sys.argv:
    sys.exit(print("--turns --json --quick"))
path = next(a for a in sys.argv if a.startswith("--json=")).removeprefix("--json=")
service = [sys.executable, "-c", "import services; print(services.__file__)"]
print("engine: warm-up", flush=True)
result = {"delivered_per_s": 5.0, "arguments": sys.argv[1:]}
result["service"] = subprocess.run(service, capture_output=True, text=True, cwd="/").stdout.strip()
pathlib.Path(path).write_text(json.dumps(result))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The packages of another commit, empty except for its bench."""
    for name in PACKAGES:
        package = tmp_path / "tree" / name
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    (tmp_path / "tree/bench/__main__.py").write_text(BENCH)
    return tmp_path / "tree"


def runner(folder: Path, result: list[str]) -> PairRunner:
    return PairRunner(
        folder, turns=2, quick=True, report_progress=lambda phase, *_: result.append(phase)
    )


def test_an_unknown_revision_is_refused() -> None:
    ran = CliRunner().invoke(app, ["--against", "no-such-revision"])
    assert ran.exit_code == 2
    assert "there is no commit 'no-such-revision'" in ran.output


def test_two_engines_are_not_compared_on_one_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBM_KAFKA_BOOTSTRAP_SERVERS", "kafka.example:9092")
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.example/obm")
    with pytest.raises(NotComparable, match="Unset OBM_KAFKA_BOOTSTRAP_SERVERS"):
        take_pairs("HEAD", turns=1, quick=True)


def test_a_comparison_refuses_peers() -> None:
    ran = CliRunner().invoke(app, ["--against", "HEAD", "--peer", "postfix"])
    assert ran.exit_code == 2
    assert "without --peer" in ran.output


def test_a_turn_runs_the_code_of_its_tree_in_every_process(tmp_path: Path, tree: Path) -> None:
    side, phases = Side("old", "a" * 40, tree), list[str]()
    require_own_code(side, tmp_path)
    result = runner(tmp_path, phases).take_turn(side, 0)
    assert result["service"] == str(tree / "services/__init__.py")
    assert result["arguments"] == ["--turns=1", f"--json={tmp_path / 'old-1.json'}", "--quick"]
    assert phases == ["pair 1 of 2, old: starting", "pair 1 of 2, old: warm-up"]


def test_a_tree_that_would_import_code_of_this_one_is_refused(tmp_path: Path, tree: Path) -> None:
    (tree / "mail/__init__.py").unlink()
    (tree / "mail").rmdir()
    with pytest.raises(NotComparable, match=r"mail would run instead of|No module named 'mail'"):
        require_own_code(Side("old", "a" * 40, tree), tmp_path)


def test_a_bench_without_the_required_options_is_refused(tmp_path: Path, tree: Path) -> None:
    (tree / "bench/__main__.py").write_text("print('--turns')")
    with pytest.raises(NotComparable, match="lacks --json, --quick"):
        require_own_code(Side("old", "a" * 40, tree), tmp_path)


def test_a_bench_that_does_not_measure_the_engine_is_refused(tmp_path: Path, tree: Path) -> None:
    (tree / "bench/__main__.py").write_text(BENCH.replace("delivered_per_s", "peers"))
    with pytest.raises(NotComparable, match="does not measure the engine"):
        runner(tmp_path, []).take_turn(Side("old", "a" * 40, tree), 0)


def test_the_end_of_a_failed_benchs_log_is_printed(tmp_path: Path, tree: Path) -> None:
    (tree / "bench/__main__.py").write_text("raise SystemExit('no room on the disk')")
    with pytest.raises(NotComparable, match="no room on the disk"):
        runner(tmp_path, []).take_turn(Side("old", "a" * 40, tree), 0)


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["shell", "background"])
def interrupts(request: pytest.FixtureRequest) -> Iterator[None]:
    """A background job of a script starts with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupted_bench_has_time_to_stop_its_servers(tmp_path: Path, tree: Path) -> None:
    ended = tmp_path / "ended"
    (tree / "bench/__main__.py").write_text(
        "import pathlib, threading\n"
        "try:\n"
        "    print('engine: warm-up', flush=True)\n"
        "    threading.Event().wait()\n"
        f"finally:\n    pathlib.Path({str(ended)!r}).touch()\n"
    )

    def interrupt(phase: str, *_: int) -> None:
        if "warm-up" in phase:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PairRunner(tmp_path, 1, quick=True, report_progress=interrupt).take_turn(
            Side("old", "a" * 40, tree), 0
        )
    assert ended.exists()


def test_a_tree_with_the_same_pins_uses_this_python(tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    for path in (ROOT / "requirements").glob("*.txt"):
        (tmp_path / "requirements" / path.name).write_bytes(path.read_bytes())
    assert provide_python(tmp_path) == sys.executable


def test_a_tree_with_other_pins_uses_its_makefile(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(".venv/dev:\n\t@mkdir -p .venv && touch .venv/made\n")
    assert provide_python(tmp_path) == str(tmp_path / ".venv/bin/python")
    assert (tmp_path / ".venv/made").exists()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    identity = ["-c", "user.name=A", "-c", "user.email=a@a.example"]
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    (root / "code.py").write_text("1\n")
    commits.git("add", "code.py", root=root)
    commits.git(*identity, "commit", "--quiet", "--message=first", root=root)
    return root


def test_the_worktree_is_removed_after_ctrl_c(repository: Path, tmp_path: Path) -> None:
    commit = commits.find("HEAD", repository)
    (repository / "code.py").write_text("2\n")
    folder = tmp_path / "tree"

    def work() -> None:
        with commits.tree_of(commit, folder, repository) as tree:
            assert (tree / "code.py").read_text() == "1\n"
            (tree / "left.pyc").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert not folder.exists()
    assert len(commits.git("worktree", "list", root=repository).splitlines()) == 1
