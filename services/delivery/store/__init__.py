"""Tables and queries of delivery: its only SQL."""
