"""events consumes every event of the other services, records each once in the log and in the tables
of lists, and delivers events to webhook endpoints. It emits WebhookDisabled, and decides nothing
about mail."""
