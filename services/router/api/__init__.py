"""gRPC API of router: queries and commands about message states, for ingest and its audit."""
