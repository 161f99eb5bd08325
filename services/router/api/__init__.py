"""The RPC door: what the public door and the audit ask of the owner of a message's state."""
