"""gRPC: one file per service. Each RPC has the rules of the REST operation that has its name."""
