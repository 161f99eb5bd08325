"""Clients of the child processes that read mail from strangers: hostile mail can crash them."""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from kernel.child import Child, ChildKilled, ChildLimits, ChildRaised
from services.delivery.domain import domain_reports, returned_mail
from services.delivery.domain.domain_reports import DomainReportSummary
from services.delivery.domain.returned_mail import UNREADABLE, ReturnedMail

LIMITS = ChildLimits(cpu_s=2.0, memory_bytes=256 << 20)  # for one mail of at most 1 MiB
READ_S = 60.0  # for mail before it too, each of which may take seconds
T = TypeVar("T")

logger = logging.getLogger(__name__)


class MailReaderChild(Generic[T]):
    """One child, which starts with the first mail; mail is read one by one. create: the name of the
    function that creates its work. decode: its result. unreadable: what is beyond LIMITS."""

    def __init__(self, create: str, decode: Callable[[bytes], T], *, unreadable: T) -> None:
        self.child = Child("delivery.return_path", create, b"", limits=LIMITS)
        self._decode = decode
        self._unreadable = unreadable

    async def read(self, raw: bytes) -> T:
        """Raises Unavailable, or TimeoutError after READ_S."""
        async with asyncio.timeout(READ_S):
            [result] = await self.child.process([raw])
        if isinstance(result, ChildKilled):
            return self._unreadable
        if isinstance(result, ChildRaised):
            logger.error("return_path.reader_failed", extra={"error": result.error})
            return self._unreadable
        try:
            return self._decode(result)
        except (msgspec.ValidationError, msgspec.DecodeError):
            return self._unreadable


def mail_reader() -> MailReaderChild[ReturnedMail]:
    create = f"{returned_mail.__name__}:{returned_mail.create_reader.__name__}"
    return MailReaderChild(create, returned_mail.decode, unreadable=UNREADABLE)


def report_reader() -> MailReaderChild[DomainReportSummary]:
    create = f"{domain_reports.__name__}:{domain_reports.create_reader.__name__}"
    unreadable = DomainReportSummary("", "it is too much to read")
    return MailReaderChild(create, domain_reports.decode, unreadable=unreadable)
