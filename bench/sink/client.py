"""Start a sink in a process of its own, and ask it what it took."""

import base64
import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.child import child
from bench.sink.script import Action

ANSWER_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Stats:
    messages: int
    deliveries: int
    unique: int
    duplicates: int
    recipients: int
    octets: int
    connections: int
    first_at: float  # monotonic clock of this machine, seconds
    last_at: float

    @property
    def per_second(self) -> float:
        """Messages over the time between the first and the last of them."""
        span = self.last_at - self.first_at
        return (self.messages - 1) / span if span > 0 else 0.0


class Sink:
    """A running sink, by its control door."""

    def __init__(self, control: int) -> None:
        self.control = control
        self.connection = socket.create_connection(("127.0.0.1", control), ANSWER_WITHIN_S)
        self.reader = self.connection.makefile("rb")

    def ask(self, command: str, **more: str) -> dict[str, object]:
        self.connection.sendall(json.dumps({"command": command} | more).encode() + b"\n")
        answer: dict[str, object] = json.loads(self.reader.readline())
        return answer

    def stats(self) -> Stats:
        return Stats(**self.ask("stats"))  # type: ignore[arg-type]

    def reset(self) -> None:
        self.ask("reset")

    def script(self, scope: str, action: Action) -> None:
        """Answer so for one domain, or `*` for all, until set to `accept`."""
        self.ask("script", scope=scope, action=action)

    def sample(self) -> list[bytes]:
        """Whole messages, without dot-stuffing."""
        found = self.ask("sample")["messages"]
        assert isinstance(found, list)
        return [base64.b64decode(message) for message in found]

    def attempted(self) -> dict[str, float]:
        """When each recipient was first named in a RCPT, on the monotonic clock."""
        return {name: float(str(at)) for name, at in self.ask("attempted").items()}

    def copies(self) -> dict[tuple[str, str], int]:
        """How often each (recipient, Message-ID) was taken."""
        found = self.ask("copies")["copies"]
        assert isinstance(found, list)
        return {(recipient, message_id): count for recipient, message_id, count in found}

    def close(self) -> None:
        self.reader.close()
        self.connection.close()


@dataclass(frozen=True, slots=True)
class Started:
    sink: Sink
    pid: int
    port: int
    addresses: list[str]


@contextmanager
def sink(arguments: Sequence[str] = ()) -> Iterator[Started]:
    """A sink of its own, with the options of `python -m bench.sink`, ended on the way out."""
    with child("bench.sink", arguments) as process:
        told = process.told
        assert isinstance(told["addresses"], list)
        door = Sink(int(str(told["control"])))
        addresses = [str(address) for address in told["addresses"]]
        yield Started(door, process.pid, int(str(told["port"])), addresses)
        door.close()
