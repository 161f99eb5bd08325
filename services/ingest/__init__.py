"""ingest serves the public API. It accepts email over REST and gRPC: it validates the request,
checks the permissions of the key, detects repeated requests, makes the email durable and emits
MessageAccepted. It owns and publishes the directory (accounts, tenants, keys, domains), consumes
MessageClosed, and audits open messages. It reads the data of other services by RPC."""
