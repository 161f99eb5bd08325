"""What a handler says should happen to one message. Values: something else does it.

There is no Retry. Waiting is a row with `due_at`, and infrastructure errors are raised.
"""

from dataclasses import dataclass
from typing import TypeAlias, Union

from google.protobuf.message import Message


@dataclass(frozen=True, slots=True, init=False)
class Emit:
    """Publish events when the transaction has committed; each knows its own topic and key."""

    events: tuple[Message, ...]

    def __init__(self, *events: Message) -> None:
        object.__setattr__(self, "events", events)


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing to do. The reason becomes a metric label."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Nothing can be done: move the record to its dead-letter topic, for a human.

    alarming: counts for the guard, which stops the service when many records fail.
    """

    reason: str
    alarming: bool = True


HandlerResult: TypeAlias = Union[Emit, Drop, DeadLetter]
