"""ingest serves the public API. It takes email over REST and gRPC, decides whether it is
valid, whether this key may send it and whether it is a repeat, makes it durable, and emits
MessageAccepted; it owns and publishes the directory (accounts, tenants, keys, domains), consumes
MessageClosed, and audits what stays open. What other services own it asks by RPC."""
