"""What an SMTP client sends, as lines and messages: RFC 5321 §2.3.8 and §4.1.1.4.

Only `CR LF . CR LF` ends a message; other line ends around a dot are part of it (CVE-2023-51764,
-51765, -51766). Memory is bounded: lines that are too long and messages that are refused are
discarded as they arrive.
"""

from mail import smtp

LINE_MAX = 12_288  # octets with CRLF, for AUTH (RFC 4954 §4.5); other commands have a lower limit
SKIPPED_MAX = 64 * 1024  # octets of one line
UNBOUNDED = 1 << 62  # octets
DISCARDED_PARTS = 4  # of a message: this many times the limit
_END = b"\r\n.\r\n"


class SmtpInput:
    """octets_max: of a message. kept_max: of those that are kept, from its begin; the others are
    discarded as they arrive; 0: all."""

    def __init__(self, octets_max: int, kept_max: int = 0) -> None:
        self._octets_max = octets_max
        self._kept_max = kept_max or UNBOUNDED
        self._buffer = bytearray()
        self._head = 0  # octets of the buffer after which others were discarded
        self._searched = 0  # octets of the buffer in which the end was not found
        self._dropped = 0  # octets of the current line or message that were discarded
        self._discards = False
        self.is_flooded = False  # the client does not end its line or message
        self.is_cut = False  # only the begin of the last message was kept

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def is_too_large(self) -> bool:
        """Whether the message that is arriving is larger than the limit."""
        return self._dropped + len(self._buffer) > self._octets_max + len(_END)

    def receive(self, data: bytes) -> None:
        self._buffer += data

    def clear(self) -> None:
        self._buffer.clear()

    def read_line(self) -> bytes | None:
        """The next line with its end; empty if it was too long; None if it has not arrived."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            if len(self._buffer) > LINE_MAX:
                self._drop(len(self._buffer))
                self.is_flooded = self._dropped > SKIPPED_MAX
            return None
        line = bytes(self._buffer[: end + 1])
        too_long = self._dropped or len(line) > LINE_MAX
        self._take(end + 1)
        return b"" if too_long else line

    def begin_message(self) -> None:
        self._discards = False

    def discard_message(self) -> None:
        """Do not keep the message that is arriving."""
        self._discards = True

    def read_message(self) -> bytes | None:
        """The message without dot-stuffing; None if its end has not arrived. If it was discarded or
        is too large, it is empty or incomplete, as it is if `is_cut`."""
        self.is_cut = False
        if not self._dropped and self._buffer.startswith(b".\r\n"):
            self._take(3)
            return b""
        # What was discarded separates the head from the rest: they may not end a message together.
        end = self._buffer.find(_END, max(self._head, self._searched - len(_END) + 1))
        if end >= 0:
            self.is_cut = bool(self._head) or end + 2 > self._kept_max
            wire = bytes(self._buffer[: min(end + 2, self._kept_max)])
            self._take(end + len(_END))
            return smtp.dot_unstuff(wire)
        self._searched = len(self._buffer)
        if self._discards or self.is_too_large:
            self._head = 0
            self._drop(max(0, len(self._buffer) - len(_END) + 1))
            self.is_flooded = self._dropped > DISCARDED_PARTS * self._octets_max
        elif len(self._buffer) > self._kept_max + len(_END):
            self._head = self._kept_max
            self._drop(len(self._buffer) - len(_END) + 1)
        return None

    def _drop(self, until: int) -> None:
        """Discard what is between the head and an offset."""
        del self._buffer[self._head : until]
        self._dropped += until - self._head
        self._searched = len(self._buffer)

    def _take(self, octets: int) -> None:
        del self._buffer[:octets]
        self._searched = self._dropped = self._head = 0
