"""Figures: the changes that batches append, and the roll-ups that a loop folds them into."""

from kernel.migrate import VACUUM_SOON, enforce_tenant_rls, sql
from kernel.tenant_accounts import allow_account_reads

revision, down_revision = "0013", "0014c"

COUNTERS = (
    "accepted", "bytes", "held", "sent", "delivered", "delivered_first", "delivered_later",
    "bounced", "bounced_permanent", "bounced_transient", "bounced_undetermined", "bounced_async",
    "delivery_delayed", "deferrals", "suppressed", "failed", "blocked", "canceled", "complained",
    "unsubscribed", "opened", "unique_opened", "clicked", "unique_clicked", "confirmed_opened",
    "machine_opened", "machine_unique_opened", "machine_clicked", "machine_unique_clicked",
)  # fmt: skip
DELTAS = f"""
    ALTER TABLE state ADD COLUMN facts bytea NOT NULL DEFAULT '';  -- figures.facts.MessageFacts

    CREATE TABLE stats_deltas (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tenant_id uuid NOT NULL,
        cohort integer NOT NULL,           -- hour of the acceptance, since 1970
        hour integer NOT NULL,             -- of the event
        domain_id text NOT NULL,
        stream text NOT NULL,
        key_id text NOT NULL,              -- of the API key, or the mailbox
        recipient_domain text NOT NULL,
        tags text[] NOT NULL,
        egress_id text NOT NULL,
        site text NOT NULL,
        bounce_class text NOT NULL,
        first_attempt smallint[],          -- buckets of histograms from 1; negative: one less
        delivery smallint[],
        {", ".join(f"{name} bigint" for name in COUNTERS)}  -- NULL: as before
    ) WITH ({VACUUM_SOON});

    -- The values of dimensions that have rows of their own.
    CREATE TABLE stats_values (
        tenant_id uuid NOT NULL,
        dimension smallint NOT NULL,       -- figures.definitions.CubeId
        day integer NOT NULL,
        value text NOT NULL,
        PRIMARY KEY (tenant_id, dimension, day, value)
    );
    CREATE INDEX stats_values_day ON stats_values (day);
"""
ROLL_UPS = """
    CREATE TABLE stats_{span} (
        tenant_id uuid NOT NULL,
        cube smallint NOT NULL,            -- figures.definitions.CubeId
        axis smallint NOT NULL,            -- figures.definitions.TimeAxis
        {span} integer NOT NULL,           -- since 1970
        dimensions text[] NOT NULL,        -- in the order of the cube
        {counters},
        PRIMARY KEY (tenant_id, cube, axis, {span}, dimensions)
    ) WITH (fillfactor=70, {storage});
    CREATE INDEX stats_{span}_age ON stats_{span} ({span});

    CREATE TABLE stats_{span}_times (
        tenant_id uuid NOT NULL,
        cube smallint NOT NULL,
        axis smallint NOT NULL,
        {span} integer NOT NULL,
        dimensions text[] NOT NULL,
        timing smallint NOT NULL,          -- figures.definitions.TimedSpan
        bucket smallint NOT NULL,          -- figures.histogram
        messages bigint NOT NULL,
        PRIMARY KEY (tenant_id, cube, axis, {span}, dimensions, timing, bucket)
    ) WITH (fillfactor=70, {storage});
    CREATE INDEX stats_{span}_times_age ON stats_{span}_times ({span});
"""


def upgrade() -> None:
    sql(DELTAS)
    counters = ", ".join(f"{name} bigint NOT NULL DEFAULT 0" for name in COUNTERS)
    for span in ("hour", "day"):
        sql(ROLL_UPS.format(span=span, counters=counters, storage=VACUUM_SOON))
        for table in (f"stats_{span}", f"stats_{span}_times"):
            enforce_tenant_rls(table, grant="SELECT")
            allow_account_reads(table)
