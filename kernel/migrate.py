"""Schemas, roles and migrations: one schema, one version table, two roles per service.

A service's `migrations/` holds two kinds of files. `env.py`, these two lines:

    from kernel.migrate import run_env
    run_env("router")

and `versions/0001_spine.py`, `0002_….py`, …, each:

    '''Messages, lanes, suppressions.'''

    from kernel.migrate import (
        day_partitioned, enforce_tenant_rls, grant_tenant, leases, outbox, sql,
    )

    revision, down_revision = "0001", None          # then "0002", "0001" …

    def upgrade() -> None:
        create_outbox_table()                        # kernel.outbox's table
        create_leases_table()                        # kernel.lease's table
        sql('''
            CREATE TABLE messages (
                message_id uuid PRIMARY KEY, tenant_id uuid NOT NULL, due_at timestamptz
            ) PARTITION BY RANGE (message_id);
            CREATE INDEX messages_due ON messages (due_at);
            CREATE TABLE suppressions (tenant_id uuid, address_hash bytea, PRIMARY KEY (…));
        ''')
        day_partitioned("messages", storage="fillfactor=70")
        enforce_tenant_rls("messages", grant="SELECT")   # rights of the tenant role
        enforce_tenant_rls("suppressions")               # SELECT, INSERT, UPDATE, DELETE
        grant_tenant("outbox", "INSERT")                 # a table without tenant_id

`sql` runs with the service's schema as search_path, so names need no prefix; it takes any number
of statements, and `%` and `:` are literal. There are no downgrades: migrations expand, then
contract.

Roles. `<service>_system` may read and write every row of its schema, and call these functions of
the schema (SECURITY DEFINER of the owner, so the role needs no DDL rights):

    ensure_day_partition('messages', DATE '2026-01-31') → boolean: created now
    drop_day_partition('messages', DATE '2026-01-31')   → boolean: dropped; error if < 7 days old
    day_partitions('messages')                          → the existing days

`<service>_tenant` has the rights that `enforce_tenant_rls` and `grant_tenant` grant. It sees only
rows whose tenant_id equals `SET LOCAL app.tenant_id`, and in tables with `add_account_rls` those
whose account_id equals `SET LOCAL app.account_id`; without either, none. Days are UTC days of
UUIDv7 keys.

`migrate(url, folders)` brings everything up to date; processes may call it concurrently.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import cast

import psycopg
import sqlalchemy as sa
from alembic import command, context, op
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql as compose

from kernel.errors import ConfigError, Unavailable
from kernel.lease import leases_table
from kernel.outbox import outbox_table

# A day's rows are updated while its messages are open. By PostgreSQL's default a fifth of them may
# be dead before a vacuum, and index scans for the next row step over all of these.
VACUUM_SOON = "autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_threshold=2000"
ROLES = ("system", "tenant")
TENANT_DEFAULT = "SELECT, INSERT, UPDATE, DELETE"
LOCK_TIMEOUT = "15s"  # every query queues behind a waiting ALTER TABLE, so fail early
ROLE_TRIES = 20  # roles are cluster-wide: another database may be migrated at the same moment
ROLE_RACES = ("XX000", "23505", "42710", "40001")
HOSTS = re.compile(r"^(postgres(?:ql)?://(?:[^/@?]*@)?)([^/@?]*,[^/@?]*)")
HOST = re.compile(r"\[?([^\[\]]*?)\]?(?::(\d*))?")
INITIAL_PARTITIONS = range(-1, 3)  # days around the migration; loops create the others

FUNCTIONS = """
CREATE OR REPLACE FUNCTION {schema}.day_bound(day date) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN (lpad(to_hex((extract(epoch FROM day) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;

CREATE OR REPLACE FUNCTION {schema}.day_partitions(parent text) RETURNS SETOF date
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT to_date(right(child.relname, 8), 'YYYYMMDD')
    FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
    WHERE inhparent = format('{schema}.%I', parent)::regclass ORDER BY 1
$$;

CREATE OR REPLACE FUNCTION {schema}.ensure_day_partition(parent text, day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part text := parent || to_char(day, '_YYYYMMDD');
    storage text;
BEGIN
    IF to_regclass(format('{schema}.%I', part)) IS NOT NULL THEN RETURN false; END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('{schema}.' || part, 0));
    IF EXISTS (SELECT FROM pg_class
        WHERE relnamespace = '{schema}'::regnamespace AND relname = part) THEN RETURN false; END IF;
    SELECT coalesce(obj_description(oid, 'pg_class'), '') INTO STRICT storage FROM pg_class
    WHERE relnamespace = '{schema}'::regnamespace AND relname = parent AND relkind = 'p';
    EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.%I INCLUDING ALL EXCLUDING INDEXES'
                   ' EXCLUDING COMMENTS) %s', part, parent, storage);
    EXECUTE format('ALTER TABLE {schema}.%I ATTACH PARTITION {schema}.%I FOR VALUES'
                   ' FROM (%L) TO (%L)', parent, part,
                   {schema}.day_bound(day), {schema}.day_bound(day + 1));
    RETURN true;
END $$;

CREATE OR REPLACE FUNCTION {schema}.drop_day_partition(parent text, day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF day > (now() AT TIME ZONE 'UTC')::date - 7 THEN
        RAISE EXCEPTION '% of %.% is younger than 7 days', day, '{schema}', parent;
    END IF;
    IF NOT EXISTS (SELECT FROM {schema}.day_partitions(parent) AS there WHERE there = day) THEN
        RETURN false;
    END IF;
    EXECUTE format('LOCK TABLE ONLY {schema}.%I IN ACCESS EXCLUSIVE MODE', parent);
    IF NOT EXISTS (SELECT FROM {schema}.day_partitions(parent) AS there WHERE there = day) THEN
        RETURN false;  -- another replica was quicker
    END IF;
    EXECUTE format('DROP TABLE {schema}.%I', parent || to_char(day, '_YYYYMMDD'));
    RETURN true;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {schema}_system;
"""

TENANT_RLS = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON {table} TO {schema}_system USING (true) WITH CHECK (true);
CREATE POLICY tenant ON {table} TO {schema}_tenant
    USING ({column} = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK ({column} = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT {grant} ON {table} TO {schema}_tenant;
"""

ACCOUNT_RLS = """
CREATE POLICY account ON {table} TO {schema}_tenant
    USING (account_id = nullif(current_setting('app.account_id', true), '')::uuid)
    WITH CHECK (account_id = nullif(current_setting('app.account_id', true), '')::uuid);
"""


# ── called by migrations ─────────────────────────────────────────────────────────────────────────


def run_env(service: str) -> None:
    """The whole content of a service's env.py. Its schema is the search_path."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, version_table_schema=service)
    context.run_migrations()


def sql(statements: str) -> None:
    """Execute SQL text verbatim; names without a schema are in the service's schema."""
    op.get_bind().connection.driver_connection.execute(statements)  # type: ignore[union-attr]


def create_outbox_table() -> None:
    outbox_table(sa.MetaData(schema=schema())).create(op.get_bind())


def create_leases_table() -> None:
    leases_table(sa.MetaData(schema=schema())).create(op.get_bind())


def day_partitioned(table: str, *, storage: str = "") -> None:
    """Create the partitions of a table PARTITION BY RANGE (a UUIDv7). storage: their options."""
    if storage:
        day_storage(table, storage)
    days = f"generate_series({INITIAL_PARTITIONS.start}, {INITIAL_PARTITIONS.stop - 1}) AS n"
    today = "(now() AT TIME ZONE 'UTC')::date"
    sql(f"SELECT ensure_day_partition('{table}', {today} + n) FROM {days}")  # noqa: S608


def day_storage(table: str, storage: str) -> None:
    """Change the storage options of existing and future partitions."""
    sql(f"COMMENT ON TABLE {table} IS 'WITH ({storage})'")
    sql(f"""
        DO $$ DECLARE part regclass; BEGIN
            FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = '{table}'::regclass LOOP
                EXECUTE format('ALTER TABLE %s SET ({storage})', part);
            END LOOP;
        END $$
    """)  # noqa: S608 - from a migration


def enforce_tenant_rls(
    table: str, *, column: str = "tenant_id", grant: str = TENANT_DEFAULT
) -> None:
    """Force row-level security: the tenant role sees one tenant's rows, the system role all."""
    sql(TENANT_RLS.format(table=table, column=column, grant=grant, schema=schema()))


def add_account_rls(table: str) -> None:
    """Besides `enforce_tenant_rls`: the tenant role sees an account's rows, by their account_id."""
    sql(ACCOUNT_RLS.format(table=table, schema=schema()))


def grant_tenant(table: str, rights: str) -> None:
    """Grant the tenant role rights on a table without tenant_id."""
    sql(f"GRANT {rights} ON {table} TO {schema()}_tenant")


def schema() -> str:
    return str(op.get_context().version_table_schema)


# ── running migrations ────────────────────────────────────────────────────────────────────────


def migrate(url: str, folders: Mapping[str, Path], *, secret: str = "") -> None:
    """Bring schemas, roles, grants and tables of each service up to date.

    url: of the owner. folders: service name → its migrations/. Raises Unavailable, ConfigError, or
    the error of a migration.
    """
    engine = sa.create_engine(sqlalchemy_url(url), poolclass=sa.NullPool)
    try:
        for service, folder in folders.items():
            ensure_roles(url, service, secret=secret)
            with engine.begin() as connection:
                upgrade_service(connection, service, folder)
    except (sa.exc.OperationalError, psycopg.OperationalError) as error:
        raise Unavailable(f"postgresql: {first_line(error)}") from error
    finally:
        engine.dispose()


def upgrade_service(connection: sa.Connection, service: str, folder: Path) -> None:
    """Upgrade in one transaction, under a lock; a concurrent second call finds nothing to do."""
    execute(connection, f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    execute(connection, f"SELECT pg_advisory_xact_lock(hashtextextended('migrate {service}', 0))")
    execute(connection, f"CREATE SCHEMA IF NOT EXISTS {service}")
    execute(connection, f"SET LOCAL search_path = {service}")
    execute(connection, FUNCTIONS.format(schema=service))
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    command.upgrade(config, "head")
    execute(connection, grants(service))


def needs_migration(url: str, service: str, folder: Path) -> str:
    """Why the service of this version has to wait, as one line; empty if its schema is at the last
    migration of the folder, or at one that only a newer version knows. url: of its system role."""
    script = ScriptDirectory(str(folder))
    older = {one.revision for one in script.walk_revisions()} - set(script.get_heads())
    try:
        with psycopg.connect(libpq_url(url)) as connection:
            query = compose.SQL("SELECT version_num FROM {}.alembic_version")
            row = connection.execute(query.format(compose.Identifier(service))).fetchone()
    except psycopg.Error as error:  # also of a role or a table that a migration will create
        return first_line(error)
    revision = "" if row is None else str(row[0])
    return f"the schema {service} is at {revision or 'none'}" if revision in {"", *older} else ""


def grants(service: str) -> str:
    system = f"{service}_system"
    return f"""
        GRANT USAGE ON SCHEMA {service} TO {service}_tenant, {system};
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {service} TO {system};
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA {service} TO {service}_tenant, {system};
        GRANT UPDATE ON ALL SEQUENCES IN SCHEMA {service} TO {system};
        REVOKE INSERT, UPDATE, DELETE ON {service}.alembic_version FROM {system};
        GRANT SELECT ON {service}.alembic_version TO {service}_tenant;
    """


def ensure_roles(url: str, service: str, *, secret: str = "") -> None:
    """Create or update `<service>_tenant` and `<service>_system`, which can log in and own
    nothing."""
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        for kind in ROLES:
            role = f"{service}_{kind}"
            ensure_role(connection, role, role_password(url, role, secret=secret))


def ensure_role(
    connection: "psycopg.Connection[tuple[object, ...]]", role: str, password: str
) -> None:
    query = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = %s"
    for last in [False] * ROLE_TRIES + [True]:
        found = connection.execute(query, (role,)).fetchone()
        if found and found[0]:
            raise ConfigError(
                f"The role {role} bypasses row-level security. Run "
                f"ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS."
            )
        verb = compose.SQL("ALTER" if found else "CREATE")
        statement = compose.SQL("{} ROLE {} LOGIN PASSWORD {}")
        try:
            connection.execute(statement.format(verb, compose.Identifier(role), password))
        except psycopg.Error as error:
            if last or error.sqlstate not in ROLE_RACES:
                raise
            time.sleep(0.05)
        else:
            return


def role_urls(url: str, services: Sequence[str], *, secret: str = "") -> dict[str, str]:
    """The services' database URLs by setting name: ROUTER_TENANT_DATABASE_URL, …"""
    return {
        f"{service}_{kind}_database_url".upper(): role_url(url, f"{service}_{kind}", secret=secret)
        for service in services
        for kind in ROLES
    }


def role_url(url: str, role: str, *, secret: str = "") -> str:
    """The owner's URL with another role and its password."""
    for_role = parsed_url(url).set(username=role, password=role_password(url, role, secret=secret))
    base, mark, query = for_role.render_as_string(hide_password=False).partition("?")
    return base + mark + query.replace("+", "%20")  # libpq does not read a plus as a space


def role_password(url: str, role: str, *, secret: str = "") -> str:
    """Derived from a secret, else from the owner's password, so that it need not be stored.

    Raises ConfigError if there is neither.
    """
    secret = secret or parsed_url(url).password or ""
    if not secret:
        raise ConfigError(
            "DATABASE_URL has no password to derive the services' passwords from. "
            "Set DATABASE_ROLE_SECRET."
        )
    return hmac.digest(stretch_key(secret), role.encode(), "sha256").hex()


@lru_cache(maxsize=8)
def stretch_key(secret: str) -> bytes:
    """A slow key derivation: a service must not guess the owner's password from its own."""
    return hashlib.scrypt(secret.encode(), salt=b"database roles", n=1 << 14, r=8, p=1)


def libpq_url(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def sqlalchemy_url(url: str) -> sa.URL:
    return parsed_url(url).set(drivername="postgresql+psycopg")


def parsed_url(url: str) -> sa.URL:
    """libpq's URL with several hosts, `//user@one:5432,two:5432/obm`, has them as parameters here,
    which both understand."""
    single = HOSTS.sub(r"\1", libpq_url(url))
    if not (found := HOSTS.match(libpq_url(url))):
        return sa.make_url(single)
    hosts = [HOST.fullmatch(one) for one in found[2].split(",")]
    return sa.make_url(single).update_query_dict(
        {
            "host": ",".join(one[1] for one in hosts if one),
            "port": ",".join(one[2] or "5432" for one in hosts if one),
        }
    )


def execute(connection: sa.Connection, statements: str) -> None:
    driver = cast("psycopg.Connection[tuple[object, ...]]", connection.connection.driver_connection)
    driver.execute(statements)


def first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().split("\n", 1)[0]
