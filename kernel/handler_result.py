"""A handler's decisions about a message, as values; the processor carries them out.

There is no Retry: a handler delays work by writing a row with `due_at`, and raises infrastructure
errors.
"""

from dataclasses import dataclass
from typing import TypeAlias, Union

from google.protobuf.message import Message


@dataclass(frozen=True, slots=True, init=False)
class Emit:
    """Publish events after the transaction has committed; their contracts give topic and key."""

    events: tuple[Message, ...]

    def __init__(self, *events: Message) -> None:
        object.__setattr__(self, "events", events)


@dataclass(frozen=True, slots=True)
class Drop:
    """Do nothing. The reason becomes a metric label."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The record cannot be handled: move it to its dead-letter topic.

    alarming: count it for the guard, which stops the service if many records fail.
    """

    reason: str
    alarming: bool = True


HandlerResult: TypeAlias = Union[Emit, Drop, DeadLetter]
