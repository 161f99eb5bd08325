"""Plans of accounts as a column, and what accounts have had, by day."""

import sqlalchemy as sa
from alembic import op

from contracts.ingest.v1.directory_pb2 import Account
from kernel.migrate import add_account_rls, enforce_tenant_rls, sql

revision, down_revision = "0019", "0018"

# The most that there was at a count of the day. plan: that of the last count.
TABLES = """
    ALTER TABLE accounts ADD COLUMN plan text NOT NULL DEFAULT '',
        ADD COLUMN billing_id text NOT NULL DEFAULT '';
    CREATE INDEX accounts_billed ON accounts (id) WHERE billing_id <> '' AND NOT deleted;
    CREATE TABLE resource_counts (
        account_id uuid NOT NULL, day date NOT NULL, plan text NOT NULL,
        domains bigint NOT NULL, mailboxes bigint NOT NULL,
        PRIMARY KEY (account_id, day)
    );
    -- period: a month or a day in UTC, such as 2026-01 or 2026-01-31. Of hard quotas only.
    CREATE TABLE quota_usage (
        account_id uuid NOT NULL, period text NOT NULL, messages bigint NOT NULL,
        PRIMARY KEY (account_id, period)
    ) WITH (fillfactor=50);
    CREATE INDEX quota_usage_period ON quota_usage (period);
    -- quantity: of the day, as of this version; value: what it adds to the version before.
    CREATE TABLE usage_exports (
        account_id uuid NOT NULL, meter text NOT NULL, day date NOT NULL, version integer NOT NULL,
        quantity bigint NOT NULL, value bigint NOT NULL, billing_id text NOT NULL,
        sent_at timestamptz,
        PRIMARY KEY (account_id, meter, day, version)
    );
    CREATE INDEX usage_exports_unsent ON usage_exports (account_id, meter, day, version)
        WHERE sent_at IS NULL;
    CREATE INDEX usage_exports_day ON usage_exports (day);
    CREATE INDEX resource_counts_day ON resource_counts (day);
"""


def upgrade() -> None:
    sql(TABLES)
    enforce_tenant_rls("resource_counts", column="account_id", grant="SELECT")
    add_account_rls("resource_counts")
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT id, record FROM accounts"))
    plans = [(row_id, Account.FromString(record).plan) for row_id, record in rows]
    if found := [{"id": row_id, "plan": plan} for row_id, plan in plans if plan]:
        connection.execute(sa.text("UPDATE accounts SET plan = :plan WHERE id = :id"), found)
