"""The account of each tenant, as a table of a service that lists rows of a whole account.

The service learns it from the owner of the directory, and calls `record_accounts`. A request that
adds a row names the account too, because a tenant may be so new that the service does not know it:
otherwise the account would not find what it has just made. Rows need no account of their own:
`allow_account_reads` shows an account the rows of its tenants. A tenant never changes its account,
and one that was closed stays: its rows are still its account's.
"""

from collections.abc import Iterable

from kernel.database import Transaction
from kernel.migrate import add_account_rls, enforce_tenant_rls, grant_tenant, schema, sql

TABLE = """
CREATE TABLE tenant_accounts (tenant_id uuid PRIMARY KEY, account_id uuid NOT NULL);
CREATE INDEX tenant_accounts_of_account ON tenant_accounts (account_id, tenant_id);
"""
POLICY = """
CREATE POLICY account ON {table} FOR SELECT TO {schema}_tenant USING (EXISTS (
    SELECT FROM {tenants} AS owner WHERE owner.{column} = {table}.tenant_id
        AND owner.account_id = nullif(current_setting('app.account_id', true), '')::uuid));
"""
# Only the tenants with the first rows of all can have a row on the page.
MERGE = """
WITH owner AS (
    SELECT candidate.tenant_id FROM ({candidates}) AS candidate
    CROSS JOIN LATERAL ({first}) AS first
    ORDER BY first.id {order} LIMIT %(limit)s
)
SELECT found.* FROM owner CROSS JOIN LATERAL ({page}) AS found
ORDER BY found.id {order} LIMIT %(limit)s
"""
TENANTS = "SELECT tenant_id FROM {schema}.tenant_accounts WHERE account_id = %(account)s"
ACCOUNT = "SELECT %(account)s::uuid"
LIMIT = "LIMIT %(limit)s"
RECORD = """
INSERT INTO {schema}.tenant_accounts (tenant_id, account_id)
SELECT * FROM unnest(%s::uuid[], %s::uuid[]) ON CONFLICT DO NOTHING
"""


def create_table() -> None:
    """Called by a migration."""
    sql(TABLE)
    enforce_tenant_rls("tenant_accounts", grant="SELECT")
    add_account_rls("tenant_accounts")


def allow_recording() -> None:
    """The tenant role records the account of the transaction's tenant. Called by a migration."""
    grant_tenant("tenant_accounts", "INSERT")


def allow_account_reads(
    table: str, *, tenants: str = "tenant_accounts", column: str = "tenant_id"
) -> None:
    """Besides `enforce_tenant_rls`: the tenant role reads the rows of an account's tenants. Called
    by a migration. tenants: the table of tenants, with their ids in `column`, and account_id."""
    sql(POLICY.format(table=table, tenants=tenants, column=column, schema=schema()))


def page_of_account(service: str, page: str, *, order: str, with_account: bool = False) -> str:
    """The statement of a page of an account's rows by id. It takes time for each tenant, and for no
    more rows than those of the page and one of each tenant.

    page: that of a tenant, with {tenant} for its id, in this order, and with LIMIT. with_account:
    rows of the account itself are on it too, with its id in the place of a tenant's.
    """
    candidates = TENANTS.format(schema=service)
    if with_account:
        candidates = f"{candidates} UNION ALL {ACCOUNT}"
    first = page.replace(LIMIT, "LIMIT 1").format(tenant="candidate.tenant_id")
    page = page.format(tenant="owner.tenant_id")
    return MERGE.format(candidates=candidates, first=first, page=page, order=order)


async def record_accounts(
    tx: Transaction, service: str, accounts: Iterable[tuple[str, str]]
) -> None:
    """Record tenants with their accounts. service: whose schema has the table."""
    ordered = sorted({one for one in accounts if all(one)})
    if ordered:
        columns = [list(column) for column in zip(*ordered, strict=True)]
        await tx.execute(RECORD.format(schema=service), columns)
