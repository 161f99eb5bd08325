"""Errors are classified once, as types, at the edge where they are met."""


class Unavailable(Exception):
    """Broker, database or store is away. Everybody fails, so no record is to blame."""


class Overloaded(Unavailable):
    """A statement was given up. The database may be slow for everybody, or the statement asks too
    much of it: when that repeats while others are answered, it is the work's own fault."""


class DeadLetterLimitExceeded(Exception):
    """So many records cannot all be wrong: the fault is ours, and the service stops."""


class ConfigError(Exception):
    """What the operator has to change, in one line."""


class EmbeddedError(Exception):
    """The embedded servers cannot start or go on; the message is one line for the operator."""


class Fenced(Exception):
    """The lease is another's now: whatever was about to be written must not be."""
