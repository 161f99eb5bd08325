"""PostgreSQL, one short transaction at a time.

psycopg executes everything: hot statements are SQL text with arrays, cold ones SQLAlchemy Core
expressions, which are only compiled here. One pool, one kind of transaction.
"""

import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from types import MappingProxyType
from typing import Any, LiteralString, NamedTuple, TypeAlias, cast

import psycopg
import sqlalchemy as sa
from psycopg.abc import DumperKey
from psycopg.adapt import PyFormat
from psycopg.pq import Format
from psycopg.rows import TupleRow
from psycopg.types.array import BaseListDumper, ListDumper
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect

from kernel import clock
from kernel.errors import ConfigError, Overloaded, Unavailable
from kernel.health import DependencyHealth
from kernel.retry import retry_while_unavailable

Params: TypeAlias = Sequence[Any] | dict[str, Any] | None
Row: TypeAlias = tuple[Any, ...]

STATEMENT_TIMEOUT_S = 10.0  # ample for every statement that touches a bounded number of rows

# A process that is stopped inside a transaction must not block its successor.
SESSION = {
    "idle_in_transaction_session_timeout": "2s",
    "lock_timeout": "2s",
    "timezone": "UTC",
}
# A server or a client whose machine is gone never answers. Without these, its peer waits for hours:
# ours for a reply to its commit, and PostgreSQL with a session that nobody uses any more.
KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
UNACKNOWLEDGED_S = 10.0
SESSION_KEEPALIVE = {
    "tcp_keepalives_idle": "30s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
}
# For services whose statements all have an index. PostgreSQL may plan a prepared statement once
# while the tables are empty, choose a sequential scan, and keep that plan for ten million rows.
PLANS = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}

# SQLSTATEs that no single record can cause. psycopg's classes mislead here: 25P03 (idle in
# transaction) and 25006 (standby) are InternalError, while 54000 (a value too long for its index)
# is OperationalError, and retrying it for ever would block its partition. No record causes an error
# that ends the session either (FATAL: shutdown, too many connections, a pooler's error). A protocol
# violation that leaves the session open is caused by a record: its value cannot be read.
CONNECTION_SQLSTATES = ("08", "25006", "25P03", "25P04", "40", "53", "55P03", "57014", "57P0", "58")
VIOLATION = "08P01"
# Out of memory, or beyond a configured limit: because of the load, or of this one statement.
OVERLOADED = ("53200", "53400")
TIMED_OUT = "57014"  # also an administrator's cancel, which comes before the timeout

ROLE_BYPASSES_RLS = """
SELECT rolname, rolsuper OR rolbypassrls OR EXISTS (
    SELECT FROM pg_class WHERE relowner = pg_roles.oid AND relkind IN ('r', 'p'))
FROM pg_roles WHERE rolname = current_user
"""

_DIALECT = psycopg_dialect()  # type: ignore[no-untyped-call]


PLAIN = frozenset((str, int, float, bool))
BYTEA, BYTEA_ARRAY = 17, 1001
_ARRAY, _LENGTH = struct.Struct("!5i"), struct.Struct("!i")


def common_type(values: list[Any]) -> type | None:
    """The type that all values share, or None."""
    kinds = set(map(type, values))
    return kinds.pop() if len(kinds) == 1 else None


class FastListDumper(ListDumper):
    """Dump an array of one plain type at once. psycopg inspects it element by element, which is
    most of the cost of a batch statement; it still dumps every other list."""

    def get_key(self, obj: list[Any], format: PyFormat) -> DumperKey:  # noqa: A002 - psycopg's name
        kind = common_type(obj)
        if kind is bytes:
            return (self.cls, bytes)
        return self.cls if kind in PLAIN else super().get_key(obj, format)

    def upgrade(self, obj: list[Any], format: PyFormat) -> BaseListDumper:  # noqa: A002
        return BytesListDumper(list) if common_type(obj) is bytes else super().upgrade(obj, format)

    def dump(self, obj: list[Any]) -> Any:  # noqa: ANN401 - psycopg's Buffer
        kind = common_type(obj)
        if kind is str:
            joined = '","'.join(obj)
            plain = joined.count('"') == 2 * len(obj) - 2
            if plain and "\\" not in joined and "\0" not in joined:
                return f'{{"{joined}"}}'.encode()
        elif kind in PLAIN:
            return f"{{{','.join(map(repr, obj))}}}".encode()
        return super().dump(obj)


class BytesListDumper(BaseListDumper):
    """bytea[] in binary format: half as long as the hexadecimal text, and nothing to parse."""

    format = Format.BINARY
    oid = BYTEA_ARRAY

    def dump(self, obj: list[bytes]) -> bytes:
        parts = [_ARRAY.pack(1, 0, BYTEA, len(obj), 1)]  # dimensions, NULLs, type, length, first
        for value in obj:
            parts += _LENGTH.pack(len(value)), value
        return b"".join(parts)


psycopg.adapters.register_dumper(list, FastListDumper)


class RowOwner(NamedTuple):
    """Whose rows a transaction sees: those of a tenant, or those of an account. One is set."""

    tenant_id: str | None
    account_id: str | None


class Transaction:
    """An open transaction: statements, and callbacks for after its end."""

    __slots__ = ("_after_commit", "_after_rollback", "_began_s", "connection")

    def __init__(self, connection: psycopg.AsyncConnection[TupleRow]) -> None:
        self.connection = connection
        self._began_s = clock.monotonic_s()
        self._after_commit: list[Callable[[], None]] = []
        self._after_rollback: list[Callable[[], None]] = []

    async def rows(self, sql: str, params: Params = None, *, binary: bool = False) -> list[Row]:
        """Execute SQL text with %s or %(name)s placeholders; return all rows. binary: the format in
        which they are transmitted, which is half as long for bytea."""
        self._began_s = clock.monotonic_s()
        cursor = await self.connection.execute(_trusted(sql), params, binary=binary)
        return await cursor.fetchall() if cursor.description else []

    async def execute(self, sql: str, params: Params = None) -> int:
        """Execute SQL text; return the number of rows affected."""
        self._began_s = clock.monotonic_s()
        return (await self.connection.execute(_trusted(sql), params)).rowcount

    @property
    def statement_age_s(self) -> float:
        """Seconds since the last statement began."""
        return clock.monotonic_s() - self._began_s

    async def run(self, statement: sa.Executable) -> list[Row]:
        """Execute a SQLAlchemy Core statement; return all rows."""
        sql, params = _compiled(statement)
        return await self.rows(sql, params)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the commit is certain. The callback must not raise."""
        self._after_commit.append(callback)

    def after_rollback(self, callback: Callable[[], None]) -> None:
        """Call back if the commit is not certain: rolled back, or the response was lost."""
        self._after_rollback.append(callback)

    def run_callbacks(self, *, committed: bool) -> None:
        for callback in self._after_commit if committed else self._after_rollback:
            callback()


def _trusted(sql: str) -> LiteralString:
    """Statements come from our stores, never from input; values are parameters."""
    return cast(Any, sql)  # type: ignore[no-any-return]


def _compiled(statement: sa.Executable) -> tuple[str, dict[str, Any]]:
    compiled = cast(sa.ClauseElement, statement).compile(
        dialect=_DIALECT, compile_kwargs={"render_postcompile": True}
    )
    return str(compiled), dict(compiled.params)


class Database:
    """A connection pool with one role. Open it inside the running loop: `await database.open()`.

    `transaction` raises Unavailable if PostgreSQL is unavailable and Overloaded if it aborted a
    statement for lack of time or memory; every other error is the caller's.
    """

    def __init__(
        self,
        url: str,
        *,
        connections_max: int = 8,
        name: str = "obm",
        session: Mapping[str, str] = MappingProxyType({}),
        statement_s: float = STATEMENT_TIMEOUT_S,
    ) -> None:
        """session: session parameters besides SESSION, for example the planner's.

        statement_s: statement timeout.
        """
        self._statement_s = statement_s
        timeout = {"statement_timeout": f"{int(statement_s * 1000)}ms"}
        parameters = {**SESSION, **SESSION_KEEPALIVE, **timeout, **session}
        options = " ".join(f"-c {setting}={value}" for setting, value in parameters.items())
        self._pool = AsyncConnectionPool(
            psycopg_url(url),
            kwargs={
                "options": options,
                "application_name": name,
                "connect_timeout": 5,
                **KEEPALIVE,
                "tcp_user_timeout": int(UNACKNOWLEDGED_S * 1000),
            },
            min_size=1,
            max_size=connections_max,
            open=False,
            timeout=5.0,
            max_waiting=10_000,
            reconnect_timeout=1.0,
        )
        self._opened = False

    async def open(self) -> None:
        """Open connections in the background, so an unavailable database does not fail this."""
        if not self._opened:
            self._opened = True
            await self._pool.open(wait=False)

    @asynccontextmanager
    async def transaction(
        self, *, tenant_id: str | None = None, account_id: str | None = None
    ) -> AsyncIterator[Transaction]:
        """One transaction; with a tenant_id or an account_id, row-level security shows only the
        rows of that tenant or account."""
        tx: Transaction | None = None
        await self.open()
        try:
            async with self._pool.connection() as connection:
                tx = Transaction(connection)
                if tenant_id is not None:
                    await tx.execute("SELECT set_config('app.tenant_id', %s, true)", (tenant_id,))
                if account_id is not None:
                    await tx.execute("SELECT set_config('app.account_id', %s, true)", (account_id,))
                yield tx
        except BaseException as error:
            if tx is not None:
                tx.run_callbacks(committed=False)
            if isinstance(error, psycopg.Error | PoolTimeout | TooManyRequests):
                raise self._map_error(error, tx) from error
            raise
        tx.run_callbacks(committed=True)

    async def execute_autocommit(
        self, sql: str, params: Params = None, *, binary: bool = False
    ) -> list[Row]:
        """Execute one statement as its own transaction: one round trip instead of three.

        For group commits, with roles that row-level security does not bind.
        """
        tx: Transaction | None = None
        await self.open()
        try:
            async with self._pool.connection() as connection:
                tx = Transaction(connection)
                await connection.set_autocommit(True)  # sends nothing to the server
                try:
                    return await tx.rows(sql, params, binary=binary)
                finally:
                    if not connection.closed:
                        await connection.set_autocommit(False)
        except (psycopg.Error, PoolTimeout, TooManyRequests) as error:
            raise self._map_error(error, tx) from error

    async def is_responsive(self) -> bool:
        """Whether the database executes a trivial statement."""
        try:
            await self.execute_autocommit("SELECT 1")
        except Unavailable:
            return False
        return True

    def _map_error(self, error: Exception, tx: Transaction | None) -> Exception:
        """The error to raise to the caller."""
        in_time = tx is None or tx.statement_age_s < self._statement_s
        if is_overload(error, in_time=in_time):
            return Overloaded("postgresql")
        return Unavailable("postgresql") if is_connection_error(error) else error

    async def check_role(self) -> None:
        """Raises ConfigError if the role bypasses row-level security."""
        async with self.transaction() as tx:
            [(role, bypasses)] = await tx.rows(ROLE_BYPASSES_RLS)
        if bypasses:
            raise ConfigError(
                f"The role {role} bypasses row-level security: it is a superuser, has BYPASSRLS "
                "or owns tables. Use the roles that `obm database-urls` prints."
            )

    async def close(self) -> None:
        if self._opened:
            await self._pool.close()


async def check_roles(databases: Sequence[Database], health: DependencyHealth) -> None:
    """A loop that ends once every role has been checked. Raises ConfigError."""
    for database in databases:
        await retry_while_unavailable(database.check_role, health)


@lru_cache(maxsize=16)
def psycopg_url(url: str) -> str:
    """The URL in libpq's form, without SQLAlchemy's driver name."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def is_connection_error(error: BaseException) -> bool:
    """Whether the error concerns every statement, not only this one."""
    if not isinstance(error, psycopg.Error) or isinstance(error, PoolTimeout | TooManyRequests):
        return True
    if error.sqlstate:
        fatal = error.diag.severity_nonlocalized in {"FATAL", "PANIC"}
        return fatal or (
            error.sqlstate.startswith(CONNECTION_SQLSTATES) and error.sqlstate != VIOLATION
        )
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def is_overload(error: BaseException, *, in_time: bool) -> bool:
    """Whether the database aborted this statement for lack of time or memory. in_time: it ended
    before the timeout, so an administrator cancelled it: PostgreSQL distinguishes the two only in
    the message text, which is localized."""
    if not isinstance(error, psycopg.Error) or not error.sqlstate:
        return False
    return error.sqlstate in OVERLOADED or (error.sqlstate == TIMED_OUT and not in_time)
