"""PostgreSQL with a synchronous standby, each on a node of its own, and failover."""

import secrets
import shutil
import time
from pathlib import Path

import psycopg

from kernel.embedded.folder import Folder, free_port, write_atomically
from kernel.embedded.postgres import DATABASE, OWNER, EmbeddedPostgres
from tests.faults.cluster.network import Network, Node
from tests.faults.cluster.on_node import OnNode

SYNCHRONOUS = "ALTER SYSTEM SET synchronous_standby_names = '*'"
ALONE = "ALTER SYSTEM SET synchronous_standby_names = ''"
IN_SYNC = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
IN_SYNC_TIMEOUT_S = 60.0


class Server(OnNode, EmbeddedPostgres):
    """One of the two. It is created empty, or as a copy of `source`, which it then follows."""

    def __init__(self, folder: Folder, network: Network, node: Node) -> None:
        super().__init__(folder, port=free_port())
        self.node = node
        self.network = network
        self.source: Server | None = None

    def url(self, database: str) -> str:
        """The owner's URL of a database on this server alone."""
        password = (self.folder.path / "postgres.password").read_text()
        return f"postgresql://{OWNER}:{password}@{self.node.address}:{self.wanted_port}/{database}"

    def command(self) -> list[str]:
        own = [f"--listen_addresses={self.node.address}", "--max_connections=300"]
        return [*super().command(), *own, "--wal_keep_size=1GB", "--wal_log_hints=on"]

    def create_data(self) -> None:
        if self.source is None:
            super().create_data()
            self._admit_network()
        else:
            self.folder.create_once("postgres", self._copy)

    def _admit_network(self) -> None:
        access = self.data / "pg_hba.conf"
        rules = "".join(
            f"host {database} all {self.network.cidr} scram-sha-256\n"
            for database in ("all", "replication")
        )
        if rules not in access.read_text():
            access.write_text(access.read_text() + rules)

    def _copy(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        user = self.user()
        shutil.chown(folder, user.uid, user.gid)
        assert self.source is not None
        source = self.source.url("postgres")
        copy = ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast"]
        program = self._program("pg_basebackup")
        self.run_tool([program, "-D", str(folder), "--dbname", source, *copy])

    def follow(self, source: "Server") -> None:
        """Start as a new standby of another server, without the data of before."""
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)
        self.source = source
        self.start()

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.url(DATABASE), autocommit=True, connect_timeout=10) as owner:
            for statement in statements:
                owner.execute(statement.encode())

    def count(self, query: str) -> int:
        with psycopg.connect(self.url(DATABASE), autocommit=True, connect_timeout=10) as owner:
            row = owner.execute(query.encode()).fetchone()
        return int(str(row[0])) if row else 0


class Databases:
    """The pair, with the methods of one `EmbeddedPostgres`. Its clients find the primary by the
    URL, which names both."""

    def __init__(self, folder: Path, network: Network) -> None:
        nodes = network.nodes[:2]
        self.primary, self.standby = (
            Server(Folder(folder / f"postgres-{node.number}"), network, node) for node in nodes
        )
        self.all = (self.primary, self.standby)
        password = secrets.token_hex(16)
        for one in self.all:
            one.folder.open()
            write_atomically(one.folder.path / "postgres.password", password)

    @property
    def database_url(self) -> str:
        password = (self.primary.folder.path / "postgres.password").read_text()
        hosts = ",".join(f"{one.node.address}:{one.wanted_port}" for one in self.all)
        chosen = "target_session_attrs=read-write"
        return f"postgresql://{OWNER}:{password}@{hosts}/{DATABASE}?{chosen}"

    @property
    def running(self) -> bool:
        return self.primary.running and self.standby.running

    def start(self) -> None:
        """Start the primary, and a standby without which it commits nothing."""
        self.primary.start()
        self.attach()

    def attach(self) -> None:
        """Make the other server a standby of the primary, and commit on both from then on."""
        if not self.standby.running:
            self.standby.follow(self.primary)
        self.primary.execute(SYNCHRONOUS, "SELECT pg_reload_conf()")
        deadline_s = time.monotonic() + IN_SYNC_TIMEOUT_S
        while self.primary.count(IN_SYNC) == 0:
            if time.monotonic() > deadline_s:
                raise AssertionError("the standby is not in sync")
            time.sleep(0.1)

    def commit_alone(self) -> None:
        """The primary waits for no standby any more. What operators do when that is lost."""
        self.primary.execute(ALONE, "SELECT pg_reload_conf()")

    def promote(self) -> None:
        """The standby becomes the primary, and commits alone. What operators of databases do when
        the old primary is silent; that one must not take part any more."""
        self.standby.execute(ALONE, "SELECT pg_reload_conf()", "SELECT pg_promote(true, 60)")
        self.primary, self.standby = self.standby, self.primary

    def kill(self) -> None:
        for one in self.all:
            one.kill()

    def close(self) -> None:
        self.kill()
        for one in self.all:
            one.folder.close()
