"""Every metric of the engine, with its meaning."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

registry = CollectorRegistry()

ACCEPT_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)

consumed = Counter(
    "obm_consumer_records", "Records processed, by consumer group.", ["consumer"], registry=registry
)
skipped = Counter(
    "obm_consumer_records_skipped",
    "Records that required no action, by consumer and reason (repeat, stale, …).",
    ["consumer", "reason"],
    registry=registry,
)
dead_lettered = Counter(
    "obm_consumer_records_dead_lettered",
    "Records moved to a dead-letter topic.",
    ["consumer"],
    registry=registry,
)
directory_rejected = Counter(
    "obm_directory_records_rejected",
    "Records of the directory without a valid MAC, which were ignored, by topic.",
    ["topic"],
    registry=registry,
)
published = Counter("obm_producer_records", "Records acknowledged by Kafka.", registry=registry)
lag = Gauge(
    "obm_consumer_lag_records",
    "Records between the committed offset and the end of the topic, by consumer group.",
    ["consumer"],
    registry=registry,
)
day_partitions_end = Gauge(
    "obm_day_partitions_end_timestamp_seconds",
    "Until when the tables of a schema have day partitions, in seconds since 1970.",
    ["schema"],
    registry=registry,
)
ready = Gauge("obm_ready", "1 while every dependency is available.", registry=registry)
accepted = Counter(
    "obm_messages_accepted",
    "Messages (recipients) made durable, by interface.",
    ["interface"],
    registry=registry,
)
accept_duration = Histogram(
    "obm_accept_duration_seconds",
    "Time to accept an email.",
    ["interface"],
    buckets=ACCEPT_BUCKETS_S,
    registry=registry,
)
accept_failures = Counter(
    "obm_accept_failures",
    "Emails of clients that were not accepted because of a fault of ours, by interface.",
    ["interface"],
    registry=registry,
)
outbox_age = Gauge(
    "obm_outbox_age_seconds",
    "Age of the oldest event in the outbox of ingest that Kafka has not acknowledged.",
    registry=registry,
)
requests_unlogged = Counter(
    "obm_requests_unlogged",
    "API requests that the log of requests lacks, because the database did not take them in time.",
    registry=registry,
)
screened = Counter(
    "obm_messages_screened", "Messages screened, by verdict.", ["verdict"], registry=registry
)
campaigns_assessed = Counter(
    "obm_campaigns_assessed",
    "Assessments of campaigns by what becomes of their mail: started, paced, released, held; and"
    " versions of what was learned (published, promoted, withdrawn).",
    ["change"],
    registry=registry,
)
shadow_screened = Counter(
    "obm_messages_shadow_screened",
    "Messages that a second model screened too, or the next version of what was learned, by its"
    " version and both verdicts.",
    ["model", "live", "shadow"],
    registry=registry,
)
shadow_skipped = Counter(
    "obm_messages_shadow_skipped",
    "Messages that the second model did not screen, because it is too slow or failed.",
    registry=registry,
)
children_ended = Counter(
    "obm_children_ended",
    "Child processes that died on a message, by child and reason (cpu, memory, crash).",
    ["child", "reason"],
    registry=registry,
)
scheduler_ticks = Counter(
    "obm_scheduler_ticks",
    "Ticks of the schedulers that were committed, by cell; 0 in a process that does not own it.",
    ["cell"],
    registry=registry,
)
blocklist_usable = Gauge(
    "obm_blocklist_usable",
    "1 while the self-test of a block list succeeds, 0 while it is out of use.",
    ["blocklist"],
    registry=registry,
)
blocklist_queries = Counter(
    "obm_blocklist_queries",
    "Queries to a block list, by result: listed, unlisted, unanswered, refused, undocumented.",
    ["blocklist", "result"],
    registry=registry,
)
egress_listed = Gauge(
    "obm_egress_sources_listed",
    "Egress sources that a block list has, as the scheduler of their cell has found them.",
    ["blocklist", "cell"],
    registry=registry,
)
domains_listed = Gauge(
    "obm_domains_listed",
    "Domains, and hosts of the installation and of brands, that a block list has.",
    ["blocklist"],
    registry=registry,
)
assigned = Counter("obm_messages_assigned", "Assignments.", registry=registry)
closed = Counter(
    "obm_messages_closed",
    "Messages that reached a terminal state, by state.",
    ["state"],
    registry=registry,
)
attempted = Counter(
    "obm_delivery_attempts",
    "Finished delivery attempts, by outcome.",
    ["outcome"],
    registry=registry,
)
ambiguous = Counter(
    "obm_delivery_attempts_ambiguous",
    "Delivery attempts whose connection broke after end of data, before the reply.",
    registry=registry,
)
in_progress = Gauge(
    "obm_delivery_attempts_in_progress",
    "Delivery attempts in progress in this process.",
    registry=registry,
)
smtp_connections_opened = Counter(
    "obm_smtp_connections_opened", "SMTP connections opened.", registry=registry
)
egress_host_connections = Gauge(
    "obm_egress_host_connections", "Open connections of an egress host.", registry=registry
)
egress_host_requests = Counter(
    "obm_egress_host_requests",
    "Requests to an egress host, by result: succeeded, checked, refused (its log has the reason),"
    " or what the destination did: connection_refused, timed_out, …",
    ["result"],
    registry=registry,
)
egress_host_failures = Counter(
    "obm_egress_host_failures",
    "Connections that delivery did not get from an egress host, by problem: unreachable, token,"
    " address.",
    ["problem"],
    registry=registry,
)
tls_refusals = Counter(
    "obm_tls_refusals",
    "Attempts for which no server had the required TLS, by policy: mta-sts, dane, enforced.",
    ["policy"],
    registry=registry,
)
returned_mail = Counter(
    "obm_returned_mail",
    "Mail that came back, by result: bounce, complaint; without an effect: repeated, not_delivered,"
    " unknown, unattributed; delay, delivered, auto_reply, other, unreadable, …",
    ["result"],
    registry=registry,
)
audit_repairs = Counter(
    "obm_audit_repairs",
    "Messages that the audit repaired, by action.",
    ["action"],
    registry=registry,
)
webhook_backlog_age = Gauge(
    "obm_webhook_backlog_age_seconds",
    "How long the oldest webhook delivery has been due, of those to endpoints that do not fail.",
    registry=registry,
)
webhook_attempts = Counter(
    "obm_webhook_attempts",
    "Webhook delivery attempts, by outcome (delivered, failed, refused).",
    ["outcome"],
    registry=registry,
)
tracking_hits = Counter(
    "obm_tracking_hits",
    "Requests for links in mail, by kind (open, click, unsubscribe).",
    ["kind"],
    registry=registry,
)
tracking_hits_lost = Counter(
    "obm_tracking_hits_lost",
    "Hits that were answered and are not in the log, by reason (full, disk, slow, unknown).",
    ["reason"],
    registry=registry,
)
feedback_unsigned = Counter(
    "obm_delivery_feedback_unsigned",
    "Messages without the signature of their pool's feedback domain, by reason (removed, paused,"
    " unverified).",
    ["reason"],
    registry=registry,
)
certificate_orders = Counter(
    "obm_certificate_orders",
    "Orders of certificates for hosts of links, by outcome (issued, failed).",
    ["outcome"],
    registry=registry,
)
tracking_spool_bytes = Gauge(
    "obm_tracking_spool_bytes", "Size of the spool of hits.", registry=registry
)


def render() -> bytes:
    """All metrics in the Prometheus text format."""
    return generate_latest(registry)


probe_canaries = Counter(
    "obm_probe_canaries",
    "Canaries of `obm probe`, by outcome: delivered, or missed (its log says why).",
    ["canary", "outcome"],
    registry=registry,
)
probe_missed_in_a_row = Gauge(
    "obm_probe_missed_in_a_row",
    "Canaries that were missed since the last that was delivered.",
    ["canary"],
    registry=registry,
)
probe_delivered_at = Gauge(
    "obm_probe_delivered_timestamp_seconds",
    "When the last canary was delivered, in seconds since 1970; 0: none since the start.",
    ["canary"],
    registry=registry,
)
probe_duration = Histogram(
    "obm_probe_duration_seconds",
    "Time from sending a canary until it is delivered.",
    ["canary"],
    buckets=(0.5, 1, 2, 5, 10, 20, 30, 60),
    registry=registry,
)
