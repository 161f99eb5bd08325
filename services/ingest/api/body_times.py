"""Times in the body of a request."""

from google.protobuf.timestamp_pb2 import Timestamp

from kernel import clock, times
from services.ingest.domain.problem import Fault, invalid


def parse_future_time(text: str | None, name: str) -> Timestamp | None:
    """Raises Problem, also for a time that has passed."""
    if text is None:
        return None
    moment = parse_body_time(text, name)
    if moment.seconds <= clock.now().timestamp():
        raise invalid([Fault(f"#/{name}", "invalid_time", f"{name} is in the past.")])
    return moment


def parse_body_time(text: str, name: str) -> Timestamp:
    """To the second. Raises Problem."""
    try:
        return Timestamp(seconds=int(times.parse_time(text).timestamp()))
    except ValueError as error:
        fault = Fault(f"#/{name}", "invalid_time", f"Invalid {name}: {error}.")
        raise invalid([fault]) from None
