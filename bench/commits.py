"""Commits of the repository: the current one, local changes, and worktrees of others."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.child import ROOT

# Files that affect a measurement; not the profiles and results that the bench writes.
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
    """An error of git, or an unknown commit."""


def git(*arguments: str, root: Path = ROOT) -> str:
    """The output of git. Raises GitFailed, also if git is not installed."""
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
    """The hash of the checked out commit; empty outside of a repository."""
    try:
        return git("rev-parse", "HEAD")
    except GitFailed:
        return ""


def changed() -> bool:
    """True if code differs from that commit."""
    return bool(head() and git("status", "--porcelain", "--", *CODE))


def find(revision: str, root: Path = ROOT) -> str:
    """The hash of a branch, a tag or an abbreviation. Raises GitFailed."""
    wanted = ("--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    try:
        return git("rev-parse", *wanted, root=root).splitlines()[-1]
    except GitFailed as error:
        raise GitFailed(f"there is no commit {revision!r} in {root}") from error


@contextmanager
def tree_of(commit: str, folder: Path, root: Path = ROOT) -> Iterator[Path]:
    """A worktree of the commit at `folder`, removed at the end of the block."""
    try:
        git("worktree", "add", "--quiet", "--detach", str(folder), commit, root=root)
        yield folder
    finally:
        with suppress(GitFailed):  # it may not exist
            git("worktree", "remove", "--force", "--force", str(folder), root=root)
        shutil.rmtree(folder, ignore_errors=True)
