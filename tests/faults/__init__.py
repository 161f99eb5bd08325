"""Kill, pause, wipe and poison the engine under load; an oracle counts what became of the mail."""
