"""Every metric of the engine, with its meaning. A name that is not here does not exist."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

registry = CollectorRegistry()

ACCEPT_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)

consumed = Counter(
    "obm_records_consumed", "Records settled, by stream.", ["stream"], registry=registry
)
dropped = Counter(
    "obm_records_dropped",
    "Records without consequence, by stream and reason (repeat, stale, …).",
    ["stream", "reason"],
    registry=registry,
)
parked = Counter(
    "obm_records_parked", "Records moved to a parked topic.", ["stream"], registry=registry
)
published = Counter("obm_records_published", "Records acknowledged by Kafka.", registry=registry)
lag = Gauge(
    "obm_consumer_lag", "Records between the offset and the end, by stream.", ["stream"],
    registry=registry,
)  # fmt: skip
ready = Gauge("obm_ready", "1 while nothing that the service needs is away.", registry=registry)
accepted = Counter(
    "obm_messages_accepted", "Messages (recipients) made durable, by door.", ["door"],
    registry=registry,
)  # fmt: skip
accept_seconds = Histogram(
    "obm_accept_seconds", "From the head of a request to send one to its answer.", ["door"],
    buckets=ACCEPT_BUCKETS_S, registry=registry,
)  # fmt: skip
screened = Counter(
    "obm_messages_screened", "Messages screened, by verdict.", ["verdict"], registry=registry
)
children_ended = Counter(
    "obm_children_ended",
    "Processes that ended over a message, by their work and reason (cpu, memory, crash).",
    ["child", "reason"],
    registry=registry,
)
assigned = Counter("obm_messages_assigned", "Assignments made.", registry=registry)
closed = Counter("obm_messages_closed", "Terminal states, by state.", ["state"], registry=registry)
attempted = Counter(
    "obm_delivery_attempts", "Attempts that ended, by outcome.", ["outcome"], registry=registry
)
ambiguous = Counter(
    "obm_delivery_ambiguous", "Attempts that ended between the dot and its answer.",
    registry=registry,
)  # fmt: skip
in_hand = Gauge(
    "obm_delivery_in_hand", "Attempts begun and not at their end, in this process.",
    registry=registry,
)  # fmt: skip
smtp_connections = Counter("obm_smtp_connections", "Connections opened.", registry=registry)
reconciled = Counter(
    "obm_messages_reconciled", "Messages that the audit repaired, by repair.", ["repair"],
    registry=registry,
)  # fmt: skip
webhooks = Counter(
    "obm_webhook_calls", "Webhook calls, by outcome (delivered, failed, refused).", ["outcome"],
    registry=registry,
)  # fmt: skip


def render() -> bytes:
    """The Prometheus text format."""
    return generate_latest(registry)
