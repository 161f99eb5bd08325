"""The repository's commits: which one runs, what differs from it, and a tree of another."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.child import ROOT

# What a measured process may read; profiles and results are what the bench itself writes.
CODE = (
    "bench",
    "cli",
    "contracts",
    "kernel",
    "mail",
    "services",
    "requirements",
    ":!bench/results",
)


class GitFailed(RuntimeError):
    """What git said, or that it knows no such commit."""


def git(*arguments: str, root: Path = ROOT) -> str:
    """What git prints. Raises GitFailed, also where git is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise GitFailed(str(error)) from error
    if done.returncode:
        raise GitFailed(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def head() -> str:
    """The full hash of the commit that is checked out; empty outside a repository."""
    try:
        return git("rev-parse", "HEAD")
    except GitFailed:
        return ""


def changed() -> bool:
    """Whether code differs from that commit."""
    return bool(head() and git("status", "--porcelain", "--", *CODE))


def find(revision: str, root: Path = ROOT) -> str:
    """The full hash of a branch, a tag or an abbreviation. Raises GitFailed."""
    wanted = ("--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    try:
        return git("rev-parse", *wanted, root=root).splitlines()[-1]
    except GitFailed as error:
        raise GitFailed(f"there is no commit {revision!r} in {root}") from error


@contextmanager
def tree_of(commit: str, folder: Path, root: Path = ROOT) -> Iterator[Path]:
    """A worktree of its own at `folder`, gone afterwards whatever happens."""
    try:
        git("worktree", "add", "--quiet", "--detach", str(folder), commit, root=root)
        yield folder
    finally:
        with suppress(GitFailed):  # it may not have been made
            git("worktree", "remove", "--force", "--force", str(folder), root=root)
        shutil.rmtree(folder, ignore_errors=True)
