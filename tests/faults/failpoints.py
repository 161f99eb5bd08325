"""The failpoints that a message passes on its way through the services."""

FAILPOINTS = (
    "ingest.content_synced",
    "ingest.accept.committed",
    "ingest.outbox.published",
    "ingest.closed.committed",
    "shield.accepted.processed",
    "router.screened.in_transaction",
    "router.screened.committed",
    "router.screened.processed",
    "router.tick.in_transaction",
    "router.tick.committed",
    "router.tick.published",
    "router.attempted.in_transaction",
    "router.attempted.committed",
    "router.outbox.published",
    "delivery.assigned.in_transaction",
    "delivery.assigned.committed",
    "delivery.started",
    "delivery.body_sent",
    "delivery.data_sent",
    "delivery.end_of_data_sent",
    "delivery.reply_received",
    "delivery.outcome.committed",
    "delivery.outcome.published",
    "events.log.in_transaction",
    "events.log.committed",
    "events.webhook.claimed",
    "events.webhook.posted",
)

# Failpoints at which a process that freezes and resumes late could do the most harm: inside a
# transaction, and between the journal and end of data. Processes freeze together only if the first
# frozen one does not keep the second from reaching its failpoint.
FREEZE_ROUNDS = (
    ("delivery.assigned.in_transaction", "events.log.in_transaction"),
    ("router.tick.in_transaction",),
    ("router.screened.in_transaction",),
    ("delivery.data_sent",),
)

# Those that only what comes back from recipients passes.
REACTION_FAILPOINTS = (
    "delivery.return_path.recorded",
    "delivery.return_path.committed",
    "events.tracking.synced",
    "events.tracking.in_transaction",
    "events.tracking.committed",
)

# Those of the process that learns.
LEARNER_POINTS = ("shield.learner.in_transaction", "shield.learner.committed")
