"""Programs of the system that some tests use, such as Postfix."""

import os
import shutil

import pytest

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def program(name: str) -> str:
    """The path of a program. If it is missing, the test is skipped; with CI set it fails."""
    if path := shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SBIN}"):
        return path
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"{name} is not installed, and in CI nothing is left out")
    pytest.skip(f"{name} is not installed")
