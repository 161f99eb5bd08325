"""Tables and queries of events: the only SQL. Hot statements take a batch as arrays."""
