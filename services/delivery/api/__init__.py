"""The doors of delivery: internal RPC, and the sandbox mail server."""
