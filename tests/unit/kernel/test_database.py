import psycopg
import pytest
from psycopg import errors
from psycopg_pool import PoolTimeout

from kernel.database import is_connection_error, is_overload


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (errors.IdleInTransactionSessionTimeout(), True),  # our own limit, an InternalError
        (errors.AdminShutdown(), True),
        (errors.DeadlockDetected(), True),
        (errors.LockNotAvailable(), True),
        (errors.DiskFull(), True),
        (errors.ProgramLimitExceeded(), False),  # a value too long, an OperationalError
        (errors.UniqueViolation(), False),
        (errors.QueryCanceled(), True),  # our own timeout, or an administrator's cancel
        (errors.InFailedSqlTransaction(), False),  # a bug: an error was swallowed
        (errors.ProtocolViolation(), False),  # a value that cannot be read
        (errors.TransactionTimeout(), True),
        (errors.IdleSessionTimeout(), True),
        (errors.OutOfMemory(), True),
        (psycopg.OperationalError("connection refused"), True),
        (psycopg.ProgrammingError("a bug"), False),
        (PoolTimeout(), True),
    ],
)
def test_connection_errors_are_recognized_by_sqlstate(error: Exception, away: bool) -> None:
    assert is_connection_error(error) is away


@pytest.mark.parametrize(
    ("error", "in_time", "overload"),
    [
        (errors.QueryCanceled(), False, True),
        (errors.QueryCanceled(), True, False),  # an administrator's
        (errors.OutOfMemory(), True, True),
        (errors.LockNotAvailable(), False, False),
        (psycopg.OperationalError("connection refused"), False, False),
    ],
)
def test_a_statement_timeout_is_distinguished_from_an_administrators_cancel(
    error: Exception, in_time: bool, overload: bool
) -> None:
    assert is_overload(error, in_time=in_time) is overload
