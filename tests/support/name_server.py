"""A scripted name server on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

SERVFAIL = "SERVFAIL"
REFUSED = "REFUSED"
SILENT = "SILENT"
NOTHING = "NOTHING"
RCODES = {SERVFAIL: "SERVFAIL", REFUSED: "REFUSED", NOTHING: "NOERROR"}


class NameServer(asyncio.DatagramProtocol):
    """records: `{"example.com": {"MX": ["10 mx.example.com."]}}`. A missing name does not exist,
    the value SERVFAIL, of a name or a type, gets that response code, and SILENT gets no response.
    fault_of: a name and a type; SERVFAIL, REFUSED, SILENT, or NOTHING for an empty response, and
    the records do not count. ttl_s: of the records.
    queried_names: one entry per query. is_secure: whether DNSSEC proves the answer for a name.
    """

    def __init__(self, records: Mapping[str, Mapping[str, list[str] | str] | str]) -> None:
        self.records = records
        self.queried_names: list[str] = []
        self.fault_of: Callable[[str, str], str] = lambda *_: ""
        self.ttl_s = 300
        self.is_secure: Callable[[str], bool] = lambda _: False
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        [question] = query.question
        name = question.name.to_text(omit_final_dot=True).lower()
        self.queried_names.append(name)
        response = dns.message.make_response(query)
        records = self.find(name)
        fault = self.fault_of(name, question.rdtype.name)
        if SILENT in (fault, records):
            return
        if fault:
            response.set_rcode(dns.rcode.from_text(RCODES[fault]))
        else:
            response.flags |= dns.flags.AA | (dns.flags.AD if self.is_secure(name) else 0)
            self._answer(response, question, records)
        assert self._transport is not None
        self._transport.sendto(response.to_wire(), addr)

    def find(self, name: str) -> Mapping[str, list[str] | str] | str | None:
        """The records of a name."""
        return self.records.get(name)

    def _answer(
        self,
        response: dns.message.Message,
        question: dns.rrset.RRset,
        records: Mapping[str, list[str] | str] | str | None,
    ) -> None:
        by_kind = {} if isinstance(records, str | None) else records
        found = records if isinstance(records, str) else by_kind.get(question.rdtype.name)
        if records is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif isinstance(found, str):
            response.set_rcode(dns.rcode.SERVFAIL)
        elif found:
            rrset = dns.rrset.from_text_list(
                question.name, self.ttl_s, "IN", question.rdtype, found
            )
            response.answer.append(rrset)
        elif alias := by_kind.get("CNAME"):
            rrset = dns.rrset.from_text_list(question.name, 300, "IN", "CNAME", alias)
            response.answer.append(rrset)
            response.answer += self._of_alias(alias[0].rstrip("."), question.rdtype.name)

    def _of_alias(self, name: str, kind: str) -> list[dns.rrset.RRset]:
        """The records of an alias's target, as a server that has both zones adds them."""
        records = self.records.get(name, {})
        found = records if isinstance(records, str) else records.get(kind, "")
        if isinstance(found, str):
            return []
        return [dns.rrset.from_text_list(f"{name}.", 300, "IN", kind, found)]


@asynccontextmanager
async def name_server(
    records: Mapping[str, Mapping[str, list[str] | str] | str],
    protocol: Callable[[Any], NameServer] = NameServer,
) -> AsyncIterator[tuple[NameServer, str]]:
    """The server, and its address for ROUTER_NAMESERVERS."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: protocol(records), local_addr=("127.0.0.1", 0)
    )
    try:
        port = transport.get_extra_info("sockname")[1]
        yield server, f"127.0.0.1:{port}"
    finally:
        transport.close()
