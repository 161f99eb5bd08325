"""What accounts use: live messages that were accepted and sent, by day and by month."""

from kernel.migrate import enforce_tenant_rls, sql
from kernel.tenant_accounts import allow_account_reads
from services.events.domain.figures.definitions import CubeId, TimeAxis

revision, down_revision = "0019", "0018"

# The months of accounts are sums of the days of their tenants; unchecked: thresholds may be passed.
TABLES = """
    CREATE TABLE usage_days (
        tenant_id uuid NOT NULL,
        month date NOT NULL,               -- to which it is billed: later than the day's, if that
                                           -- was closed already
        day date NOT NULL,
        accepted bigint NOT NULL,
        sent bigint NOT NULL,
        PRIMARY KEY (tenant_id, month, day)
    ) WITH (fillfactor=70);
    CREATE INDEX usage_days_month ON usage_days (month);
    CREATE TABLE usage_months (
        account_id uuid NOT NULL,
        month date NOT NULL,
        accepted bigint NOT NULL,
        sent bigint NOT NULL,
        checked boolean NOT NULL DEFAULT false,
        PRIMARY KEY (account_id, month)
    ) WITH (fillfactor=70);
    CREATE INDEX usage_months_unchecked ON usage_months (account_id) WHERE NOT checked;
    CREATE INDEX usage_months_month ON usage_months (month);
    -- Those that an event was published of, or is to be.
    CREATE TABLE usage_thresholds (
        account_id uuid NOT NULL,
        meter text NOT NULL,
        month date NOT NULL,
        percent smallint NOT NULL,
        PRIMARY KEY (account_id, meter, month, percent)
    );
    CREATE INDEX usage_thresholds_month ON usage_thresholds (month);
"""
# Of what was counted before: each message is once in the cube of sites.
COUNTED = f"""
    INSERT INTO usage_days (tenant_id, month, day, accepted, sent)
    SELECT tenant_id, date_trunc('month', DATE '1970-01-01' + day)::date, DATE '1970-01-01' + day,
        sum(accepted), sum(sent)
    FROM stats_day WHERE cube = {int(CubeId.SITE)} AND axis = {int(TimeAxis.EVENT)}
    GROUP BY tenant_id, day HAVING sum(accepted) <> 0 OR sum(sent) <> 0;
    INSERT INTO usage_months (account_id, month, accepted, sent)
    SELECT account_id, month, sum(accepted), sum(sent)
    FROM usage_days JOIN tenant_accounts USING (tenant_id) GROUP BY account_id, month;
"""  # noqa: S608 - our own numbers


def upgrade() -> None:
    sql(TABLES)
    sql(COUNTED)
    enforce_tenant_rls("usage_days", grant="SELECT")
    allow_account_reads("usage_days")
