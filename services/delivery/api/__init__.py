"""The listeners of delivery: the internal gRPC server, and the sandbox SMTP server."""
