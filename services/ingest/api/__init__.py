"""The public door: REST and gRPC, a file per resource."""
