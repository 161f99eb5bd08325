"""The public API: REST and gRPC, a file per resource."""
