"""The log of API requests."""

from kernel.migrate import add_account_rls, day_partitioned, enforce_tenant_rls, sql

revision, down_revision = "0018", "0017"

# Lists and single entries read the same two indexes; no row is ever written twice.
REQUESTS = """
    CREATE TABLE requests (
        id uuid NOT NULL,
        account_id uuid NOT NULL,
        tenant_id uuid,                    -- NULL: of the account itself
        test boolean NOT NULL,
        method text NOT NULL,
        endpoint text NOT NULL,
        status smallint NOT NULL,
        user_agent text NOT NULL,
        request_id text NOT NULL,
        request_body jsonb,                -- of a refusal, without its texts
        response_body jsonb
    ) PARTITION BY RANGE (id);
    CREATE INDEX requests_of_tenant ON requests (tenant_id, id) WHERE tenant_id IS NOT NULL;
    CREATE INDEX requests_of_account ON requests (account_id, id);
"""


def upgrade() -> None:
    sql(REQUESTS)
    day_partitioned("requests")
    enforce_tenant_rls("requests", grant="SELECT")
    add_account_rls("requests")
