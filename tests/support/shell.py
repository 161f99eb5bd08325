"""Runs `obm` in this process: starting Python takes long."""

import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from unittest.mock import patch

import pytest

from cli.main import main


class Shell:
    """environment: with the settings of an installation."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)

    def obm(self, *arguments: str) -> str:
        """The output of a command that succeeds."""
        code, out, err = run_obm(*arguments, **self.environment)
        assert code == 0, err
        return out.strip()

    def refused(self, *arguments: str) -> str:
        """The error line of a command that fails."""
        code, _, err = run_obm(*arguments, **self.environment)
        assert code == 1
        assert err.startswith("obm: ")
        assert err.count("\n") == 1
        return err


def run_obm(*arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run a command with these settings only. Returns its exit code and its output."""
    others = {k: v for k, v in os.environ.items() if not k.endswith("DATABASE_URL")}
    out, err = StringIO(), StringIO()
    with (
        patch.dict(os.environ, {**others, **settings}, clear=True),
        patch.object(sys, "argv", ["obm", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        main()
    return int(left.value.code or 0), out.getvalue(), err.getvalue()
