"""Errors are classified once, as types, at the edge where they occur."""


class Unavailable(Exception):
    """Broker, database or content store is unavailable, so no record is to blame. The text names
    it."""


class Overloaded(Unavailable):
    """The database aborted a statement for lack of time or memory. Either the database is slow, or
    the statement is too large: if it fails again while others succeed, the statement is."""


class DeadLetterLimitExceeded(Exception):
    """Too many records were dead-lettered: this points to a bug, so the service stops."""


class ConfigError(Exception):
    """One line for the operator: what must be changed."""


class EmbeddedError(Exception):
    """An embedded server cannot start or continue; the message is one line for the operator."""


class Fenced(Exception):
    """Another process holds the lease now, so this one must not write."""
