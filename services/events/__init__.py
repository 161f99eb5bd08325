"""events consumes every fact, remembers each once in the log and in what lists are made of, and
tells the tenants' webhook endpoints; it emits WebhookDisabled and decides nothing about mail."""
