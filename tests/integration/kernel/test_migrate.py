"""Migrations: roles, row-level security, partitions."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
import sqlalchemy as sa

from kernel.errors import ConfigError, Unavailable
from kernel.ids import lower_bound_at, uuid7
from kernel.migrate import migrate, role_password, role_url
from tests.support.stack import temporary_database

ENV = 'from kernel.migrate import run_env\n\nrun_env("parcels")\n'
SPINE = '''
from kernel.migrate import create_leases_table, create_outbox_table
from kernel.migrate import day_partitioned, enforce_tenant_rls, grant_tenant, sql

revision, down_revision = "0001", None


def upgrade() -> None:
    create_outbox_table()
    create_leases_table()
    sql("""
        CREATE TABLE parcels (parcel_id uuid PRIMARY KEY, tenant_id uuid NOT NULL)
            PARTITION BY RANGE (parcel_id);
        CREATE INDEX parcels_tenant ON parcels (tenant_id);
        CREATE TABLE notes (tenant_id uuid, text text CHECK (text NOT LIKE '%:x'));
    """)
    day_partitioned("parcels", storage="fillfactor=70")
    enforce_tenant_rls("parcels", grant="SELECT")
    enforce_tenant_rls("notes")
    grant_tenant("outbox", "INSERT")
'''
MORE = """
from kernel.migrate import sql

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    sql("ALTER TABLE notes ADD COLUMN pinned boolean")
"""
MINE, OTHER = str(uuid4()), str(uuid4())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parcels")
    (folder / "versions").mkdir()
    (folder / "env.py").write_text(ENV)
    (folder / "versions" / "0001_spine.py").write_text(SPINE)
    return folder


@pytest.fixture(scope="module")
def url(database_url: str, folder: Path) -> Iterator[str]:
    with temporary_database(database_url) as url:
        migrate(url, {"parcels": folder})
        yield url
    with (
        psycopg.connect(database_url, autocommit=True) as owner,
        suppress(psycopg.errors.DependentObjectsStillExist),  # other tests run in parallel
    ):
        owner.execute("DROP ROLE parcels_tenant, parcels_system")


@pytest.fixture
def tenant(url: str) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    with psycopg.connect(role_url(url, "parcels_tenant")) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def system(url: str) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    with psycopg.connect(role_url(url, "parcels_system"), autocommit=True) as connection:
        yield connection


Connection = psycopg.Connection[tuple[object, ...]]


def speak_for(connection: Connection, tenant: str) -> None:
    connection.execute("SELECT set_config('app.tenant_id', %s, true)", (tenant,))


def note(connection: Connection, tenant: str) -> None:
    connection.execute("INSERT INTO parcels.notes VALUES (%s, 'hello')", (tenant,))


def test_tenant_role_sees_and_writes_the_rows_of_one_tenant(
    tenant: Connection, system: Connection
) -> None:
    note(system, OTHER)
    speak_for(tenant, MINE)
    note(tenant, MINE)
    assert tenant.execute("SELECT DISTINCT tenant_id FROM parcels.notes").fetchall() == [
        (UUID(MINE),)
    ]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        note(tenant, OTHER)


def test_tenant_role_sees_nothing_without_a_tenant(tenant: Connection, system: Connection) -> None:
    note(system, OTHER)
    assert tenant.execute("SELECT * FROM parcels.notes").fetchall() == []
    speak_for(tenant, OTHER)
    assert tenant.execute("SELECT * FROM parcels.notes").fetchall() != []
    tenant.commit()  # a pooled connection is reused for another tenant
    assert tenant.execute("SELECT * FROM parcels.notes").fetchall() == []


def test_tenant_role_may_do_only_what_its_migrations_grant(tenant: Connection) -> None:
    speak_for(tenant, MINE)
    tenant.execute("INSERT INTO parcels.outbox (records, messages, due_at) VALUES ('', 1, now())")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        tenant.execute("SELECT * FROM parcels.outbox")
    tenant.rollback()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        tenant.execute("DELETE FROM parcels.parcels")


def test_system_role_owns_nothing(system: Connection) -> None:
    for statement in (
        "DROP TABLE parcels.notes",
        "CREATE TABLE parcels.mine (n int)",
        "UPDATE parcels.alembic_version SET version_num = '9999'",
        "ALTER TABLE parcels.notes DISABLE ROW LEVEL SECURITY",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            system.execute(statement)


def test_current_ids_have_a_partition(system: Connection) -> None:
    parcel = uuid7()
    system.execute("INSERT INTO parcels.parcels VALUES (%s, %s)", (parcel, MINE))
    row = system.execute(
        "SELECT tableoid::regclass::text = 'parcels.parcels'"
        " || to_char(now() AT TIME ZONE 'UTC', '_YYYYMMDD') FROM parcels.parcels"
        " WHERE parcel_id = %s",
        (parcel,),
    ).fetchone()
    assert row == (True,)


def test_system_role_creates_and_drops_day_partitions(system: Connection) -> None:
    made, dropped = "ensure_day_partition", "drop_day_partition"
    for function, expected in ((made, True), (made, False), (dropped, True), (dropped, False)):
        row = system.execute(f"SELECT parcels.{function}('parcels', '2026-01-31')".encode())
        assert row.fetchone() == (expected,)


def test_partition_covers_its_utc_day_and_has_the_indexes(system: Connection) -> None:
    system.execute("SELECT parcels.ensure_day_partition('parcels', '2026-01-31')")
    first = lower_bound_at(datetime(2026, 1, 31, tzinfo=UTC))
    beyond = lower_bound_at(datetime(2026, 2, 1, tzinfo=UTC))
    for parcel in (first, UUID(int=beyond.int - 1)):
        system.execute("INSERT INTO parcels.parcels VALUES (%s, %s)", (parcel, MINE))
    where = "SELECT count(*) FROM pg_indexes WHERE tablename = 'parcels_20260131'"
    assert system.execute(where).fetchone() == (2,)
    with pytest.raises(psycopg.errors.CheckViolation):
        system.execute("INSERT INTO parcels.parcels VALUES (%s, %s)", (beyond, MINE))
    system.execute("SELECT parcels.drop_day_partition('parcels', '2026-01-31')")


def test_young_partition_is_never_dropped(system: Connection) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="younger than 7 days"):
        system.execute("SELECT parcels.drop_day_partition('parcels', current_date)")


def test_system_role_cannot_partition_other_tables(system: Connection) -> None:
    with pytest.raises(psycopg.errors.NoDataFound):
        system.execute("SELECT parcels.ensure_day_partition('notes', '2026-01-31')")


def test_concurrent_migrations_run_once(database_url: str, folder: Path) -> None:
    failures: list[BaseException] = []

    def replica(url: str) -> None:
        try:
            migrate(url, {"parcels": folder})
        except BaseException as failure:
            failures.append(failure)

    with temporary_database(database_url) as url:
        replicas = [threading.Thread(target=replica, args=(url,)) for _ in range(4)]
        for thread in replicas:
            thread.start()
        for thread in replicas:
            thread.join()
        assert not failures
        with psycopg.connect(url) as owner:
            versions = owner.execute("SELECT * FROM parcels.alembic_version").fetchall()
    assert versions == [("0001",)]


def test_the_next_revision_keeps_existing_data(url: str, folder: Path) -> None:
    (folder / "versions" / "0002_pinned.py").write_text(MORE)
    migrate(url, {"parcels": folder})
    with psycopg.connect(url) as owner:
        assert owner.execute("SELECT pinned FROM parcels.notes LIMIT 0").fetchall() == []


def test_a_role_that_bypasses_row_level_security_is_rejected(
    database_url: str, folder: Path
) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("CREATE ROLE unlimited_tenant BYPASSRLS")
        try:
            with pytest.raises(ConfigError, match="unlimited_tenant bypasses row-level security"):
                migrate(database_url, {"unlimited": folder})
        finally:
            owner.execute("DROP ROLE unlimited_tenant")


def test_an_unreachable_database_is_unavailable(folder: Path) -> None:
    with pytest.raises(Unavailable):
        migrate("postgresql://postgres:secret@127.0.0.1:1/obm", {"parcels": folder})


def test_passwords_are_derived_and_differ() -> None:
    url = "postgresql://owner:secret@127.0.0.1/obm"
    one, two = role_password(url, "parcels_tenant"), role_password(url, "parcels_system")
    assert one != two
    assert one == role_password(url, "parcels_tenant")
    assert one != role_password(url, "parcels_tenant", secret="another")
    assert sa.make_url(role_url(url, "parcels_tenant")).password == one
    with pytest.raises(ConfigError, match="DATABASE_ROLE_SECRET"):
        role_password("postgresql://owner@127.0.0.1/obm", "parcels_tenant")


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("db.example.net:5433", {"host": "db.example.net", "port": "5433"}),
        ("one:5432,two:5433", {"host": "one,two", "port": "5432,5433"}),
        ("one,[::1]:5433", {"host": "one,::1", "port": "5432,5433"}),
    ],
)
def test_a_url_may_name_several_servers(hosts: str, expected: dict[str, str]) -> None:
    url = f"postgresql://owner:s%40cret@{hosts}/obm?target_session_attrs=read-write"

    of_role = psycopg.conninfo.conninfo_to_dict(role_url(url, "parcels_tenant"))

    assert of_role == {
        "user": "parcels_tenant",
        "password": role_password(url, "parcels_tenant"),
        "dbname": "obm",
        "target_session_attrs": "read-write",
        **expected,
    }
    assert role_password(url, "x") == role_password("postgresql://owner:s%40cret@one/obm", "x")
