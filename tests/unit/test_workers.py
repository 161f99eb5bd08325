"""`-n 2`: what the workers find is reported as if one process had run all."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = {
    "test_good.py": """
import os, pytest

@pytest.fixture(scope="session")
def shared():
    yield os.getppid()
    print("torn down")

def test_passes(shared, capfd):
    print("said")
    assert capfd.readouterr().out == "said\\n"

@pytest.mark.parametrize("number", range(20))
def test_skips(number):
    pytest.skip("why not")
""",
    "test_bad.py": """
import os

def test_fails():
    print("what it said")
    assert 1 == 2

def test_ends_the_worker():
    os._exit(7)

def test_is_left():
    pass
""",
}


def run_tests(folder: Path, *options: str) -> tuple[int, str]:
    (folder / "pytest.ini").touch()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.workers", "-n2"]
    done = subprocess.run(
        [*command, "--rootdir", str(folder), *options, str(folder)],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_what_workers_find_is_reported(tmp_path: Path) -> None:
    code, output = run_tests(tmp_path)
    assert code == 1, output
    assert re.search(r"^=+ 2 failed, 1 passed, 20 skipped in ", output, re.M), output
    assert "assert 1 == 2" in output
    assert "what it said" in output
    assert re.search(r"test_ends_the_worker _+\n.*ended with 7: 1 more did not run", output), output


def test_the_first_failure_ends_all_if_that_is_wanted(tmp_path: Path) -> None:
    code, output = run_tests(tmp_path, "-x")
    assert code == 1, output
    assert "1 failed" in output
    assert "ended with" not in output
