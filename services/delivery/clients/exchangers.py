"""The walk over the hosts of a message: best first, each at its addresses, never a private one."""

from collections.abc import Awaitable, Callable, Sequence

from contracts.router.v1.events_pb2 import DeliveryAssigned
from services.delivery.clients.dns import Resolver
from services.delivery.clients.smtp.dial import Dialler, Host, Unreached
from services.delivery.clients.smtp.dialogue import Dialogue
from services.delivery.domain.ending import CONNECT, Ending, refused
from services.delivery.domain.walk import (
    ADDRESSES_MAX,
    Network,
    asks_next,
    dialable,
    may_dial,
    port_of,
)

Speak = Callable[[Dialogue], Awaitable[Ending]]


class Exchangers:
    """allowed: private networks that may be dialled all the same."""

    def __init__(
        self, resolver: Resolver, dialler: Dialler, *, allowed: Sequence[Network] = ()
    ) -> None:
        self._resolver = resolver
        self._dialler = dialler
        self._allowed = allowed

    async def walk(self, assignment: DeliveryAssigned, speak: Speak) -> Ending:
        """Speak with the first host that lets us begin; else what the last one had to say."""
        tried = 0
        last: Ending | None = None
        private = ""
        for exchanger in assignment.exchangers:
            found = await self._resolver.addresses(exchanger.host)
            for address in dialable(found, assignment.source_ip):
                if not (assignment.envelope.test or may_dial(address, self._allowed)):
                    private = f"private_address: {exchanger.host} is at {address}"
                    continue
                if tried >= ADDRESSES_MAX:
                    break
                tried += 1
                host = Host(exchanger.host, port_of(exchanger), str(address))
                ending = await self._ask(host, assignment, speak=speak)
                if not asks_next(ending):
                    return ending
                last = ending if ending.reply or last is None or not last.reply else last
        if last is not None:
            return last
        if private:
            return refused("private_address", private, enhanced="5.4.4")
        return Ending(CONNECT, problem="no mail exchanger has an address that can be reached")

    async def _ask(self, host: Host, assignment: DeliveryAssigned, *, speak: Speak) -> Ending:
        try:
            dialogue = await self._dialler.dial(
                host, source_ip=assignment.source_ip, ehlo=assignment.ehlo
            )
        except Unreached as unreached:
            return unreached.ending
        return await speak(dialogue)
