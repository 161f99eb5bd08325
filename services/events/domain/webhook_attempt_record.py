"""The record of one attempt to deliver an event to an endpoint, kept with the delivery."""

import msgspec

ATTEMPTS_MAX = 50  # kept of one delivery; the schedule has 10, each replay begins it anew


class WebhookAttemptRecord(msgspec.Struct, array_like=True, frozen=True):
    """id: UUIDv7 of the time when it was sent. status: 0 without a response. response: the
    beginning of the body. error: why there was no response."""

    id: str
    status: int
    duration_ms: int
    response: str
    error: str

    def encode(self) -> str:
        return _encode(self).decode()


_encode = msgspec.json.Encoder().encode
decode_attempt = msgspec.json.Decoder(WebhookAttemptRecord).decode
