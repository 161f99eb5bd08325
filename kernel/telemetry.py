"""Structured logs, one wide line per unit of work, and traces carried in Kafka headers."""

import logging
import random
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from kernel.ids import random_octets
from kernel.settings import ProcessSettings

_STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_propagator = TraceContextTextMapPropagator()
_tracer: trace.Tracer | None = None
_ratio = 0.0

SAMPLED = b"-01"
LOG_INTERVAL_S = 30.0
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def start_telemetry(service: str, settings: ProcessSettings) -> None:
    """Once per process, before anything else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines(service) if settings.log_format == "json" else ConsoleFormatter()
    )
    # No log line of ours has these fields, and each line would collect them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # nor does one name its caller
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for noisy in ("faststream", "asyncio", "mail.log"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    # aiokafka logs an error for a missing topic, which the heartbeat logs once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("aiokafka.client").setLevel(logging.ERROR)
    # Log why there is no connection, for example a wrong password, but not for every attempt.
    for connecting in ("psycopg.pool", "aiokafka.client"):
        logging.getLogger(connecting).addFilter(LogRateLimit())
    if settings.otlp_endpoint:
        _start_tracing(service, settings)


def _start_tracing(service: str, settings: ProcessSettings) -> None:
    global _tracer, _ratio  # noqa: PLW0603 - one provider per process
    # A tenth of a service's imports, needed only when traces are exported.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )

    _ratio = settings.trace_ratio
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"obm-{service}"}),
        sampler=ParentBased(ALWAYS_ON),  # sampled where a trace begins
    )
    exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint, insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("obm")


def is_recorded(traceparent: bytes | None) -> bool:
    """Whether spans of this trace are exported."""
    return _tracer is not None and traceparent is not None and traceparent.endswith(SAMPLED)


def record_span(
    name: str,
    traceparent: bytes | None,
    *,
    began_ns: int,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | int] | None = None,
) -> bytes | None:
    """Record a span of a message's trace, from began_ns (Unix time) until now; return the
    traceparent for what follows.

    Costs one comparison if the trace is not sampled or no exporter is set.
    """
    if _tracer is None or traceparent is None or not is_recorded(traceparent):
        return traceparent
    context = _propagator.extract({"traceparent": traceparent.decode()})
    span = _tracer.start_span(
        name, context=context, start_time=began_ns, kind=kind, attributes=attributes
    )
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context=trace.set_span_in_context(span))
    span.end()
    return carrier["traceparent"].encode()


def traceparent_or_new(given: str) -> str:
    """The W3C Trace Context of a request: the given one if valid, else a new one."""
    return given if _TRACEPARENT.fullmatch(given) else new_traceparent()


def new_traceparent() -> str:
    """A W3C Trace Context for a request without one, sampled at the configured ratio."""
    sampled = _tracer is not None and random.random() < _ratio
    octets = random_octets(24).hex()
    return f"00-{octets[:32]}-{octets[32:]}-{'01' if sampled else '00'}"


class LogRateLimit(logging.Filter):
    """Passes at most one warning per LOG_INTERVAL_S."""

    def __init__(self) -> None:
        super().__init__()
        self._passed_s = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or record.created - self._passed_s < LOG_INTERVAL_S:
            return False
        self._passed_s = record.created
        return True


class JsonLines(logging.Formatter):
    """A JSON object per line: time, level, service, event, and everything in `extra`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "event": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class ConsoleFormatter(logging.Formatter):
    """The same as readable text."""

    def format(self, record: logging.LogRecord) -> str:
        extra = " ".join(f"{name}={value}" for name, value in _extra(record).items())
        text = f"{record.levelname.lower():7} {record.name}: {record.getMessage()} {extra}".rstrip()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
