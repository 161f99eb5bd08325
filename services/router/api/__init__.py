"""router's gRPC API: queries and commands of ingest and of the audit about message states."""
