"""Events of warmups, overrides and standings, and the counts from which the next ones follow."""

from kernel.migrate import sql

revision, down_revision = "0006", "0005"


def upgrade() -> None:
    sql("""
        CREATE TABLE policy_events (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            cell text NOT NULL,
            subject text NOT NULL,             -- its latest event is its state
            event bytea NOT NULL,              -- contracts.router.v1.PolicyEvent
            recorded_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX policy_events_by_subject ON policy_events (cell, subject, id);
        CREATE INDEX policy_events_by_time ON policy_events (recorded_at);
        CREATE TABLE policy_counts (
            cell text, subject text, counts bigint[] NOT NULL,
            updated_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (cell, subject)
        ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0,
                autovacuum_vacuum_threshold = 2000);
    """)
