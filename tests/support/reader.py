"""A reader of the documentation, who runs the code blocks of a page in order."""

import os
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.engine import Engine
from tests.support.pages import ROOT, Block, is_shown, read_blocks

WITHIN_S = 240.0
LANGUAGES = {"sh": "{0}", "python": "python3 - <<'END OF BLOCK'\n{0}END OF BLOCK\n"}
OPTIONS = ("-euo", "pipefail", "-O", "inherit_errexit", "-o", "allexport")
CHANGES = ("-d '", "-X ", "obm ", "python3 - ")  # in a block that must not run twice


class Reader:
    """A shell that keeps its variables from block to block."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment

    def read_page(self, page: Path) -> None:
        for block, following in pairwise([*read_blocks(page), Block("", 0, "", "", "")]):
            if block.comment.startswith("file: "):
                self.save(block)
            elif block.language in LANGUAGES and not block.comment.startswith("not run"):
                shows = following.language in {"json", "text"}
                self.read(block, following if shows else None)

    def read(self, block: Block, output: Block | None) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not self._succeeds(done := self._run(block), output):
            if self._changes(block) or time.monotonic() > deadline:
                shown = output.text if output else "success"
                pytest.fail(f"{block} printed\n{done.stdout}{done.stderr}\nand shows\n{shown}")
            time.sleep(0.2)

    def _succeeds(self, done: "subprocess.CompletedProcess[str]", output: Block | None) -> bool:
        return done.returncode == 0 and (output is None or is_shown(done.stdout, output))

    def save(self, block: Block) -> None:
        (self._folder / block.comment.removeprefix("file: ")).write_text(block.text)

    def _changes(self, block: Block) -> bool:
        return block.language == "python" or any(mark in block.text for mark in CHANGES)

    def _run(self, block: Block) -> "subprocess.CompletedProcess[str]":
        variables = self._folder / "variables"
        # What a page says is in force within a second takes longer on a busy machine.
        text = re.sub(r"(?m)^sleep (\d+)", lambda found: f"sleep {5 * int(found[1])}", block.text)
        script = LANGUAGES[block.language].format(text)
        done = subprocess.run(
            ["bash", *OPTIONS, "-c", f"{script}\nenv -0 > '{variables}'"],
            check=False, cwd=self._folder, env=self._environment, text=True, capture_output=True,
        )  # fmt: skip
        if done.returncode == 0:
            pairs = variables.read_text().split("\0")
            self._environment = dict(pair.split("=", 1) for pair in pairs if pair)
        return done


def exported_by_make_run(engine: Engine, folder: Path) -> dict[str, str]:
    """What `make run` tells a reader to export, and the paths of a developer's shell; no keys."""
    return {
        **engine.environment,
        "OBM_API_URL": engine.url,
        "OBM_GRPC_ADDRESS": f"127.0.0.1:{engine.ports.ingest_grpc}",
        "OBM_SMTP_PORT": str(engine.ports.submission),
        "OBM_SMTPS_PORT": str(engine.ports.submission_tls),
        "OBM_CERTIFICATE": engine.environment["INGEST_TLS_CERTIFICATE"],
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{folder}",
        "HOME": str(folder),
    }
