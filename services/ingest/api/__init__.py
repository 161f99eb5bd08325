"""The public API: REST and gRPC, one file per resource."""
