"""The journal of attempts, its workers, the sandbox."""

from kernel.migrate import create_outbox_table, day_partitioned, enforce_tenant_rls, sql

revision, down_revision = "0001", None


def upgrade() -> None:
    create_outbox_table()
    sql("""
        CREATE TABLE workers (
            epoch bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text NOT NULL,
            registered_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz NOT NULL,
            expired boolean NOT NULL DEFAULT false
        );

        CREATE TABLE attempts (
            message_id uuid NOT NULL,
            attempt integer NOT NULL,
            tenant_id uuid NOT NULL,
            epoch bigint NOT NULL,
            stage text NOT NULL DEFAULT 'started' CHECK (stage IN ('started', 'data_sent', 'done')),
            outcome text,          -- set when done
            ambiguous boolean NOT NULL DEFAULT false,
            not_after timestamptz NOT NULL,
            started_at timestamptz NOT NULL DEFAULT now(),
            assignment bytea NOT NULL,
            attempted bytea,       -- the event, with the reply
            PRIMARY KEY (message_id, attempt)
        ) PARTITION BY RANGE (message_id);

        -- On outcome, not on stage, so that the step to data_sent is a heap-only update.
        CREATE INDEX attempts_open ON attempts (epoch, not_after) WHERE outcome IS NULL;

        CREATE TABLE sandbox (
            id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            message_id uuid NOT NULL,
            email_id uuid NOT NULL,
            mail_from text NOT NULL,
            recipient text NOT NULL,
            subject text NOT NULL,
            bytes integer NOT NULL,
            reply text NOT NULL,
            received_at timestamptz NOT NULL DEFAULT now(),
            raw bytea NOT NULL
        );
        CREATE INDEX sandbox_by_tenant ON sandbox (tenant_id, id DESC);
    """)
    day_partitioned("attempts", storage="fillfactor=60")
    enforce_tenant_rls("attempts", grant="SELECT")
    enforce_tenant_rls("sandbox", grant="SELECT")
