"""A transport that goes nowhere, for protocols without a network."""

import asyncio
from collections.abc import Sequence
from typing import Any


class FakeTransport(asyncio.Transport):
    """Records what is written."""

    def __init__(self, writes: Sequence[bytes] = (), *, closed: bool = False) -> None:
        super().__init__({"peername": ("192.0.2.1", 5), "sockname": ("192.0.2.2", 80)})
        self.writes = list(writes)
        self.closed = closed

    def write(self, data: Any) -> None:  # noqa: ANN401 - bytes of any kind
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass
