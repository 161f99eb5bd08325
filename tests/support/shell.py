"""Runs `obm` in this process: starting Python takes long."""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, redirect_stderr, redirect_stdout
from io import StringIO
from unittest.mock import patch

import pytest

from cli.main import main
from kernel.crypto import new_secret_key
from kernel.database import Database
from kernel.outbox import Outbox
from services.ingest.settings import Settings
from services.router.api.pools import PoolAdmin
from tests.support.directory import DirectoryAdmin, leave_to_sweep, open_directory
from tests.support.stack import FreshDatabase


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


class DatabaseShell(Shell):
    """With DATABASE_URL and OBM_SECRET_KEYS, and without a running engine."""

    def __init__(self, database: FreshDatabase) -> None:
        super().__init__({"DATABASE_URL": database.url, "OBM_SECRET_KEYS": new_secret_key()})
        self.database = database

    def record(self, table: str, identifier: str) -> bytes:
        """Of a table of the directory."""
        with self.database.connect() as owner:
            query = f"SELECT record FROM ingest.{table} WHERE id = %s"
            found = owner.execute(query.encode(), (identifier,)).fetchone()
        assert found
        return bytes(found[0])  # type: ignore[call-overload,no-any-return]

    def add_pool(self, name: str) -> None:
        async def add() -> None:
            database = Database(self.database.system("router"), connections_max=1, name="test")
            outbox = Outbox(database, "router", leave_to_sweep)
            await PoolAdmin(database, outbox, ()).add(name)
            await database.close()

        asyncio.run(add())

    def directory(self) -> AbstractAsyncContextManager[DirectoryAdmin]:
        """For what `obm` would need a running engine for."""
        return open_directory(
            Settings(
                system_database_url=self.database.system("ingest"),
                tenant_database_url=self.database.tenant("ingest"),
                secret_keys=[self.environment["OBM_SECRET_KEYS"]],
            )
        )


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
