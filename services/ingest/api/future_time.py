"""A time in the future in the body of a request."""

from google.protobuf.timestamp_pb2 import Timestamp

from kernel import clock, times
from services.ingest.domain.problem import Fault, invalid


def parse_future_time(text: str | None, name: str) -> Timestamp | None:
    """Parse a time in a body. Raises Problem, also for one that has passed."""
    if text is None:
        return None
    try:
        seconds = int(times.parse_time(text).timestamp())
    except ValueError as error:
        fault = Fault(f"#/{name}", "invalid_time", f"Invalid {name}: {error}.")
        raise invalid([fault]) from None
    if seconds <= clock.now().timestamp():
        raise invalid([Fault(f"#/{name}", "invalid_time", f"{name} is in the past.")])
    return Timestamp(seconds=seconds)
