"""Limits of the connections to a host."""

from typing import Protocol


class HostSlots(Protocol):
    """Limits the connections per host name. A reserved slot must be freed, at the latest when its
    connection ends."""

    def reserve_slot(self, name: str) -> bool: ...

    def free_slot(self, name: str) -> None: ...


class ConnectionSlot:
    """A slot that is freed on exit, unless it was transferred to a connection."""

    def __init__(self, slots: HostSlots, name: str) -> None:
        self._slots = slots
        self._name = name
        self.is_reserved = False

    async def __aenter__(self) -> "ConnectionSlot":
        self.is_reserved = self._slots.reserve_slot(self._name)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.is_reserved:
            self._slots.free_slot(self._name)

    def transfer(self) -> None:
        self.is_reserved = False
