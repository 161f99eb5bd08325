"""Authentic records of the directory: who writes a topic without a secret key changes nothing."""

import hmac
import logging
import time
from collections.abc import Callable, Sequence
from hmac import compare_digest

from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import metrics
from kernel.crypto import derived_key
from kernel.processor import Record

HEADER = "mac"
LOG_INTERVAL_S = 10.0

logger = logging.getLogger(__name__)


class DirectoryMac:
    """HMAC-SHA-256 (RFC 2104) of topic, key and value of a record, in a header. secret_keys: of
    OBM_SECRET_KEYS; the first signs, all verify. Without any nothing is signed or authentic.

    Versions, which tables compare, are in the value: an old record that is repeated changes
    nothing. The prefix of topics is not included.
    """

    def __init__(self, secret_keys: Sequence[str]) -> None:
        self._keys = [derived_key(key, "directory") for key in secret_keys]
        self._logged_s = float("-inf")

    def sign(self, record: Outgoing) -> None:
        if self._keys:
            mac = _mac(self._keys[0], record.topic, key=record.key, value=record.value)
            record.headers[HEADER] = mac

    def is_authentic(self, record: Record) -> bool:
        """Whether a holder of a secret key signed this record; counts and logs those that are
        not."""
        given = next((value for name, value in record.headers if name == HEADER), b"")
        for secret in self._keys:
            expected = _mac(secret, record.topic, key=record.key or b"", value=record.value or b"")
            if compare_digest(given, expected):
                return True
        self._report(record)
        return False

    def if_authentic(self, on_record: Callable[[Record], None]) -> Callable[[Record], None]:
        """A callback for authentic records only."""

        def checked(record: Record) -> None:
            if self.is_authentic(record):
                on_record(record)

        return checked

    def _report(self, record: Record) -> None:
        metrics.directory_rejected.labels(record.topic).inc()
        now_s = time.monotonic()
        if now_s - self._logged_s >= LOG_INTERVAL_S:
            self._logged_s = now_s
            extra = {
                "topic": record.topic,
                "offset": record.offset,
                "key": (record.key or b"").decode(errors="replace")[:100],
            }
            logger.error("directory.record_not_authentic", extra=extra)


def _mac(secret: bytes, topic: str, *, key: bytes, value: bytes) -> bytes:
    """Covers the length of the key: the end of a signed key must not become the begin of a
    value."""
    return hmac.digest(secret, b"%b\0%d\0%b%b" % (topic.encode(), len(key), key, value), "sha256")
