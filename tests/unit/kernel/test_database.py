import psycopg
import pytest
from psycopg import errors
from psycopg_pool import PoolTimeout

from kernel.database import is_away


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
        (errors.QueryCanceled(), False),  # the batch's own, and its halves will tell
        (psycopg.OperationalError("connection refused"), True),
        (psycopg.ProgrammingError("a bug"), False),
        (PoolTimeout(), True),
    ],
)
def test_what_is_infrastructure_is_told_by_sqlstate(error: Exception, away: bool) -> None:
    assert is_away(error) is away
