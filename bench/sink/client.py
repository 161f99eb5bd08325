"""Start a sink in a process of its own, and query what it received."""

import base64
import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.child import child
from bench.sink.script import Action

RESPONSE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Stats:
    messages: int
    deliveries: int
    unique: int
    duplicates: int
    recipients: int
    octets: int
    connections: int
    first_at: float  # monotonic clock of this machine, in seconds
    last_at: float

    @property
    def per_second(self) -> float:
        """Messages per second between the first and the last message."""
        span = self.last_at - self.first_at
        return (self.messages - 1) / span if span > 0 else 0.0


class Sink:
    """A running sink, through its control port."""

    def __init__(self, control: int) -> None:
        self.control = control
        self.connection = socket.create_connection(("127.0.0.1", control), RESPONSE_TIMEOUT_S)
        self.reader = self.connection.makefile("rb")

    def query(self, command: str, **more: str) -> dict[str, object]:
        self.connection.sendall(json.dumps({"command": command} | more).encode() + b"\n")
        response: dict[str, object] = json.loads(self.reader.readline())
        return response

    def stats(self) -> Stats:
        return Stats(**self.query("stats"))  # type: ignore[arg-type]

    def reset(self) -> None:
        self.query("reset")

    def script(self, scope: str, action: Action) -> None:
        """Set the action for one domain, or `*` for all; `accept` resets it."""
        self.query("script", scope=scope, action=action)

    def sample(self) -> list[bytes]:
        """Sampled messages, without dot-stuffing."""
        found = self.query("sample")["messages"]
        assert isinstance(found, list)
        return [base64.b64decode(message) for message in found]

    def attempted(self) -> dict[str, float]:
        """Time of the first RCPT for each recipient, on the monotonic clock."""
        return {name: float(str(at)) for name, at in self.query("attempted").items()}

    def copies(self) -> dict[tuple[str, str], int]:
        """The number of copies received per (recipient, Message-ID)."""
        found = self.query("copies")["copies"]
        assert isinstance(found, list)
        return {(recipient, message_id): count for recipient, message_id, count in found}

    def close(self) -> None:
        self.reader.close()
        self.connection.close()


@dataclass(frozen=True, slots=True)
class RunningSink:
    sink: Sink
    pid: int
    port: int
    addresses: list[str]


@contextmanager
def sink(arguments: Sequence[str] = ()) -> Iterator[RunningSink]:
    """A sink with the options of `python -m bench.sink`, stopped at the end of the block."""
    with child("bench.sink", arguments) as process:
        ready = process.ready
        assert isinstance(ready["addresses"], list)
        client = Sink(int(str(ready["control"])))
        addresses = [str(address) for address in ready["addresses"]]
        yield RunningSink(client, process.pid, int(str(ready["port"])), addresses)
        client.close()
