"""Fault scenarios: kill, pause and poison the engine under load; an oracle counts the messages."""
