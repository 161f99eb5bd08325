"""Client of the child process that reads mail from strangers: hostile mail can crash it."""

import logging

import msgspec

from kernel.child import Child, ChildKilled, ChildLimits, ChildRaised
from services.delivery.domain import returned_mail
from services.delivery.domain.returned_mail import UNREADABLE, ReturnedMail

LIMITS = ChildLimits(cpu_s=2.0, memory_bytes=256 << 20)  # for one mail of at most 1 MiB

logger = logging.getLogger(__name__)


class MailReader:
    """One child, which starts with the first mail; mail is read one by one."""

    def __init__(self) -> None:
        function = f"{returned_mail.__name__}:{returned_mail.create_reader.__name__}"
        self.child = Child("delivery.return_path", function, b"", limits=LIMITS)

    async def read(self, raw: bytes) -> ReturnedMail:
        """UNREADABLE if it cannot be read within LIMITS. Raises Unavailable."""
        [result] = await self.child.process([raw])
        if isinstance(result, ChildKilled):
            return UNREADABLE
        if isinstance(result, ChildRaised):
            logger.error("return_path.reader_failed", extra={"error": result.error})
            return UNREADABLE
        try:
            return returned_mail.decode(result)
        except (msgspec.ValidationError, msgspec.DecodeError):
            return UNREADABLE
