"""Senders: the engine, and small models of others."""
