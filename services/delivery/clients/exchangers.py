"""The walk over the hosts of a message: best first, each at its addresses, never a private one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from contracts.router.v1.events_pb2 import DeliveryAssigned
from mail.reachable import Network, may_connect
from services.delivery.clients.dns import NoSuchHost, Resolver
from services.delivery.clients.smtp.dial import Dialler, Host, Unreached
from services.delivery.clients.smtp.dialogue import Dialogue
from services.delivery.domain.ending import CONNECT, Ending, refused
from services.delivery.domain.walk import (
    ADDRESSES_MAX,
    DIALOGUES_MAX,
    UNSENT,
    asks_next,
    dialable,
    port_of,
)

At = tuple[str, int]
Speak = Callable[[Dialogue], Awaitable[Ending]]


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, and the address and port that gave it."""

    ending: Ending
    at: At


class Exchangers:
    """allowed: private networks that may be dialled all the same."""

    def __init__(
        self, resolver: Resolver, dialler: Dialler, *, allowed: Sequence[Network] = ()
    ) -> None:
        self._resolver = resolver
        self._dialler = dialler
        self._allowed = allowed

    async def walk(
        self, assignment: DeliveryAssigned, speak: Speak, *, said: Said | None = None
    ) -> Ending:
        """Speak with the first host that lets us hand over the message; else the best answer.

        said: by a host that was asked already, over a kept connection.
        """
        last, dialogues = (said.ending, 1) if said else (None, 0)
        private = ""
        missing: list[str] = []
        tried = {said.at} if said else set[At]()
        async for host in self._hosts(assignment, missing):
            if (host.ip, host.port) in tried:
                continue
            if not (assignment.envelope.test or may_connect(ip_address(host.ip), self._allowed)):
                private = f"private_address: {host.name} is at {host.ip}"
                continue
            tried.add((host.ip, host.port))
            ending = await self._ask(host, assignment, speak=speak)
            if not asks_next(ending):
                return ending
            last = ending if ending.reply or last is None or not last.reply else last
            dialogues += ending.step in UNSENT
            if dialogues >= DIALOGUES_MAX or len(tried) >= ADDRESSES_MAX:
                break
        return last or nobody(assignment, private, missing=missing)

    async def _hosts(self, assignment: DeliveryAssigned, missing: list[str]) -> AsyncIterator[Host]:
        """Best first, each at its addresses. missing: those that do not exist."""
        for exchanger in assignment.exchangers:
            try:
                found = await self._resolver.addresses(exchanger.host)
            except NoSuchHost:
                missing.append(exchanger.host)
                continue
            for address in dialable(found, assignment.source_ip):
                yield Host(exchanger.host, port_of(exchanger), str(address))

    async def _ask(self, host: Host, assignment: DeliveryAssigned, *, speak: Speak) -> Ending:
        try:
            dialogue = await self._dialler.dial(
                host, source_ip=assignment.source_ip, ehlo=assignment.ehlo
            )
        except Unreached as unreached:
            return unreached.ending
        return await speak(dialogue)


def nobody(assignment: DeliveryAssigned, private: str, *, missing: Sequence[str]) -> Ending:
    """Why no address was asked. private, missing: what was found instead of addresses."""
    if private:
        return refused("private_address", private, enhanced="5.4.4")
    if len(missing) == len(assignment.exchangers):
        problem = f"no mail exchanger exists: {', '.join(missing)[:200]}"
        return refused("bad_domain", problem, enhanced="5.4.4")
    return Ending(CONNECT, problem="no mail exchanger has an address that can be reached")
