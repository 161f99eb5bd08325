"""A reader works through the pages of docs/ in order, and gets the output that they show.

A page's `sh` and `python` blocks run, unless a comment before the block says `not run`. A `json` or
`text` block right after one shows its output. `file: NAME` saves a block instead of running it.
"""

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.accounts import create_account, keys_of_callers
from tests.support.engine import Engine
from tests.support.pages import ROOT, Block, is_shown, read_blocks

PAGES = (
    "send-your-first-email", "test-with-the-sandbox", "verify-a-domain", "handle-bounces",
    "run-it-for-real", "read-the-topics", "api", "webhooks",
    "set-up-a-customer", "send-by-smtp",
)  # fmt: skip
SENDING_DOMAIN = "hello.obm-sandbox.net"  # the one of `make run`
WITHIN_S = 240.0
LANGUAGES = {"sh": "{0}", "python": "python3 - <<'END OF BLOCK'\n{0}END OF BLOCK\n"}
OPTIONS = ("-euo", "pipefail", "-O", "inherit_errexit", "-o", "allexport")
CHANGES = ("-d '", "-X ", "obm ", "python3 - ")  # in a block that must not run twice


class Reader:
    """A shell that keeps its variables from block to block."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment

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
        script = LANGUAGES[block.language].format(block.text)
        done = subprocess.run(
            ["bash", *OPTIONS, "-c", f"{script}\nenv -0 > '{variables}'"],
            check=False, cwd=self._folder, env=self._environment, text=True, capture_output=True,
        )  # fmt: skip
        if done.returncode == 0:
            pairs = variables.read_text().split("\0")
            self._environment = dict(pair.split("=", 1) for pair in pairs if pair)
        return done


def shell_environment(engine: Engine, folder: Path) -> dict[str, str]:
    """What `make run` tells a reader to export, and the paths of a developer's shell."""
    account = create_account(engine.environment, SENDING_DOMAIN, test=True)
    return {
        **engine.environment,
        "OBM_API_URL": engine.url,
        "OBM_API_KEY": account.api_key,
        "OBM_SMTP_PORT": str(engine.ports.submission),
        "OBM_SMTPS_PORT": str(engine.ports.submission_tls),
        "OBM_CERTIFICATE": engine.environment["INGEST_TLS_CERTIFICATE"],
        "OBM_OPERATOR_KEY": keys_of_callers(engine.environment)["accounts"],
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{folder}",
        "HOME": str(folder),
    }


@pytest.mark.timeout(600)
def test_the_blocks_of_each_page_print_what_it_shows(engine: Engine, tmp_path: Path) -> None:
    reader = Reader(tmp_path, shell_environment(engine, tmp_path))
    for page in PAGES:
        blocks = read_blocks(ROOT / "docs" / f"{page}.md")
        for block, following in pairwise([*blocks, Block("", 0, "", "", "")]):
            if block.comment.startswith("file: "):
                reader.save(block)
            elif block.language in LANGUAGES and not block.comment.startswith("not run"):
                shows = following.language in {"json", "text"}
                reader.read(block, following if shows else None)
