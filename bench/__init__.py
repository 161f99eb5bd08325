"""Loads, peers and recorded results: what the engine can carry, beside what others can."""
